// The page: draws the rows in view, and joins heads, filters, tabs, keys and address to them.

const BEYOND = 8; // rows drawn above and below what is in view
const scroll = byId("scroll");
const body = document.querySelector("#cases tbody");
const state = { sort: null, sign: 0, list: cases, rows: new Map(), height: 36, all: false };

// ---- rows

function row(one) {
  const element = make("tr");
  const link = make("a", "", one.case);
  link.href = `#case=${encodeURIComponent(one.case)}`;
  link.title = one.case;
  for (const column of columns) {
    const cell = make("td", column.kind);
    const answer = column.finding === undefined ? null : one.answers[column.finding];
    if (column.kind === "case") cell.append(link);
    if (column.kind === "scope") cell.append(make("span", `scope-word ${one.scope}`, SCOPES[one.scope]));
    if (column.kind === "notes") cell.textContent = one.notes.length || "";
    if (column.kind === "decision") fillDecision(cell, one, column, answer);
    if (column.kind === "chance" && answer) {
      const threshold = data.findings[column.finding].kind === "binary" ? answer.threshold : null;
      cell.append(make("span", "n", digits(answer.chance, threshold)), meter(answer.chance, threshold));
    }
    element.append(cell);
  }
  element.dataset.case = one.case;
  element.classList.toggle("doubted", one.doubted);
  element.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(one, true);
  });
  return element;
}

function fillDecision(cell, one, column, answer) {
  const finding = data.findings[column.finding];
  if (one.withheld) {
    cell.append(make("span", "withheld", "withheld"));
    cell.title = WITHHELD;
    return;
  }
  if (!answer) return;
  const positive = finding.kind === "binary" && answer.decision === finding.positive;
  cell.append(make("span", positive ? "decision positive" : "decision", answer.shown));
  cell.title = one.doubted ? `${answer.shown} (${DOUBTED})` : answer.shown;
}

// Draw the rows in view (all of them for the printer) between two spacers.
function draw() {
  const count = state.list.length;
  const head = document.querySelector("#cases thead").offsetHeight;
  let first = Math.max(0, Math.floor((scroll.scrollTop - head) / state.height) - BEYOND);
  let last = Math.min(count, Math.ceil((scroll.scrollTop + scroll.clientHeight) / state.height) + BEYOND);
  if (state.all) [first, last] = [0, count];
  const shown = [];
  const kept = new Map();
  for (let at = first; at < last; at++) {
    const one = state.list[at];
    const element = state.rows.get(one) || row(one);
    element.setAttribute("aria-rowindex", at + 2);
    element.classList.toggle("selected", one === panel.shown);
    element.classList.toggle("odd", at % 2 === 1);
    kept.set(one, element);
    shown.push(element);
  }
  state.rows = kept;
  // Rows that stay are not taken out, so that one with the focus keeps it.
  const wanted = [spacer("above", first), ...shown, spacer("below", count - last)];
  const staying = new Set(wanted);
  for (const element of [...body.children]) if (!staying.has(element)) element.remove();
  wanted.forEach((element, at) => {
    if (body.children[at] !== element) body.insertBefore(element, body.children[at] || null);
  });
}

const spacers = {};
function spacer(place, rows) {
  if (!spacers[place]) {
    spacers[place] = make("tr", "spacer");
    spacers[place].setAttribute("aria-hidden", "true");
    spacers[place].append(make("td"));
    spacers[place].firstChild.colSpan = columns.length;
  }
  spacers[place].hidden = !rows;
  spacers[place].firstChild.style.height = `${rows * state.height}px`;
  return spacers[place];
}

// ---- heads

function heads() {
  const longer = (most, text) => Math.max(most, text.length); // as arguments of one call, many cases overflow the stack
  const widest = (texts, least, most) => Math.min(most, texts.reduce(longer, least));
  const cols = document.querySelector("#cases colgroup");
  const head = document.querySelector("#cases thead tr");
  let total = 0;
  for (const column of columns) {
    const finding = data.findings[column.finding];
    const width = {
      case: () => widest(cases.map((one) => one.case), 10, 22) + 3,
      decision: () => widest([...finding.classes, finding.name, "withheld"], 8, 22) + 4,
      chance: () => Math.max(16, Math.min(column.title.length, 22) + 4),
      scope: () => 14,
      notes: () => 8,
    }[column.kind]();
    total += width;
    const col = make("col");
    col.style.width = `${width}ch`;
    cols.append(col);
    const cell = make("th", column.kind);
    cell.scope = "col";
    const button = make("button", "sort", column.title);
    button.type = "button";
    if (column.kind === "chance") button.title = `${finding.name}: ${column.title}`;
    button.addEventListener("click", () => sortBy(column));
    cell.append(button);
    head.append(cell);
    column.head = cell;
  }
  byId("cases").style.minWidth = `${total}ch`;
}

// Three states: the telling end first, then the other end, then by case again.
function sortBy(column) {
  const first = column.down ? -1 : 1;
  if (state.sort !== column) [state.sort, state.sign] = [column, first];
  else if (state.sign === first) state.sign = -first;
  else [state.sort, state.sign] = [null, 0];
  update();
}

// ---- filters

function readFilter() {
  const decisions = [...document.querySelectorAll(".filter-decision")].filter((one) => one.value !== "");
  const low = Math.min(byId("filter-low").value, byId("filter-high").value);
  const high = Math.max(byId("filter-low").value, byId("filter-high").value);
  const all = low === 0 && high === 100;
  byId("filter-range").textContent = `${(low / 100).toFixed(2)} to ${(high / 100).toFixed(2)}`;
  return {
    words: byId("filter-text").value.toLowerCase().split(/\s+/).filter(Boolean),
    decisions: decisions.map((one) => [Number(one.dataset.finding), Number(one.value)]),
    scope: byId("filter-scope").value,
    notes: byId("filter-notes").checked,
    range: all ? null : { finding: byId("filter-of") ? Number(byId("filter-of").value) : 0, low: low / 100, high: high / 100 },
  };
}

function update() {
  const filter = readFilter();
  state.list = ordered(cases.filter((one) => fits(one, filter)), state.sort, state.sign);
  for (const column of columns) {
    const sorted = column === state.sort;
    column.head.setAttribute("aria-sort", sorted ? (state.sign > 0 ? "ascending" : "descending") : "none");
  }
  byId("shown").textContent = `${state.list.length} of ${cases.length} shown`;
  byId("empty").hidden = state.list.length > 0;
  byId("export").disabled = !state.list.length;
  byId("cases").setAttribute("aria-rowcount", state.list.length + 1);
  for (const choice of document.querySelectorAll(".choice")) {
    const chosen = filter.decisions.some(([at, index]) => at === Number(choice.dataset.finding) && index === Number(choice.dataset.decision));
    choice.setAttribute("aria-pressed", chosen);
  }
  scroll.scrollTop = 0;
  draw();
}

byId("filters").addEventListener("input", update);
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("filters").addEventListener("reset", () => setTimeout(update));
for (const choice of document.querySelectorAll(".choice")) {
  choice.addEventListener("click", () => {
    const field = document.querySelector(`.filter-decision[data-finding="${choice.dataset.finding}"]`);
    field.value = field.value === choice.dataset.decision ? "" : choice.dataset.decision;
    openTab("cases");
    update();
  });
}

byId("export").addEventListener("click", () => {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([csv(state.list)], { type: "text/csv;charset=utf-8" }));
  link.download = "predictions-shown.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
});

// ---- one case

function show(one, focus) {
  panel.open(one);
  byId("split").classList.add("open");
  history.replaceState(null, "", `#case=${encodeURIComponent(one.case)}`);
  const at = state.list.indexOf(one);
  byId("previous").disabled = at <= 0;
  byId("next").disabled = at < 0 || at === state.list.length - 1;
  if (at >= 0) reveal(at);
  draw();
  if (focus) byId("details-case").focus({ preventScroll: true });
}

function reveal(at) {
  const head = document.querySelector("#cases thead").offsetHeight;
  const top = at * state.height;
  if (top < scroll.scrollTop) scroll.scrollTop = top;
  const bottom = top + state.height + head - scroll.clientHeight;
  if (bottom > scroll.scrollTop) scroll.scrollTop = bottom;
}

function step(by) {
  if (!state.list.length) return;
  const at = state.list.indexOf(panel.shown);
  const next = at < 0 ? 0 : Math.min(Math.max(at + by, 0), state.list.length - 1);
  if (state.list[next] !== panel.shown) show(state.list[next], false);
}

function close() {
  const was = panel.shown;
  panel.close();
  byId("split").classList.remove("open");
  history.replaceState(null, "", location.href.split("#")[0]);
  draw();
  const element = state.rows.get(was);
  if (element) element.querySelector("a").focus({ preventScroll: true });
  else scroll.focus({ preventScroll: true });
}

byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
byId("close").addEventListener("click", close);

document.addEventListener("keydown", (event) => {
  if (byId("pane-cases").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && panel.shown) return close();
  if (event.target.closest("input, select, textarea, [role=tablist]")) return;
  const turns = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const steps = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (steps && (panel.shown || event.target.closest("#scroll"))) step(steps);
  else if (turns && panel.shown && panel.shown.film) panel.turnTo(panel.frame + turns);
  else return;
  event.preventDefault();
});

// ---- address, tabs, refusals, printer

function readAddress() {
  const name = /^#case=(.*)$/.exec(location.hash);
  if (!name) return;
  let wanted;
  try {
    wanted = decodeURIComponent(name[1]);
  } catch {
    return; // an address that somebody cut
  }
  const one = cases.find((other) => other.case === wanted);
  if (!one) return;
  openTab("cases");
  show(one, false);
  byId("details").scrollIntoView({ block: "nearest" });
}

const tabs = [...document.querySelectorAll("[role=tab]")];
function openTab(name) {
  for (const tab of tabs) {
    const chosen = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    byId(tab.getAttribute("aria-controls")).hidden = !chosen;
  }
  draw();
}
tabs.forEach((tab, at) => {
  tab.addEventListener("click", () => openTab(tab.id.slice(4)));
  tab.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    const other = tabs[(at + by + tabs.length) % tabs.length];
    openTab(other.id.slice(4));
    other.focus();
  });
});

function filterRefusals() {
  const words = byId("refused-text").value.toLowerCase().split(/\s+/).filter(Boolean);
  let files = 0;
  let total = 0;
  for (const group of document.querySelectorAll(".code")) {
    let any = false;
    for (const element of group.querySelectorAll(".refusal")) {
      const text = `${group.dataset.text} ${element.textContent}`.toLowerCase();
      element.hidden = words.some((word) => !text.includes(word));
      total += Number(element.dataset.files);
      if (element.hidden) continue;
      any = true;
      files += Number(element.dataset.files);
    }
    group.hidden = !any;
  }
  byId("refused-shown").textContent = `${files} of ${total} rejected files shown`;
}
byId("refused-text").addEventListener("input", filterRefusals);

function printAll(all) {
  state.all = all;
  draw();
}
window.addEventListener("beforeprint", () => printAll(true));
window.addEventListener("afterprint", () => printAll(false));

let waiting = false;
function drawSoon() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    draw();
  });
}
scroll.addEventListener("scroll", drawSoon, { passive: true });
window.addEventListener("resize", drawSoon);
window.addEventListener("hashchange", readAddress);

heads();
update();
const sample = body.querySelector("tr:not(.spacer)");
if (sample) state.height = sample.getBoundingClientRect().height || state.height;
draw();
filterRefusals();
readAddress();
