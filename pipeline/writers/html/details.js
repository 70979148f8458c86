// The panel of one case.

const byId = (id) => document.getElementById(id);

// An element with text, never markup: nothing of a batch is parsed as HTML.
function make(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
}

function meter(p, threshold) {
  const box = make("span", "meter");
  const fill = make("i");
  fill.style.width = `${(100 * p).toFixed(2)}%`;
  box.append(fill);
  if (threshold !== null) {
    const mark = make("b");
    mark.style.left = `${(100 * threshold).toFixed(2)}%`;
    box.append(mark);
  }
  return box;
}

function answerBlock(finding, answer) {
  const block = make("section", "answer");
  const head = make("h3", "", finding.name);
  block.append(head);
  if (!answer) {
    block.append(make("p", "note", "no answer"));
    return block;
  }
  head.append(make("span", "decision", answer.shown));
  const marked = new Set(answer.decided.map((at) => finding.classes[at]));
  finding.classes.forEach((label, at) => {
    const limit = label === finding.positive ? answer.threshold : null;
    const row = make("div", marked.has(label) ? "chance decided" : "chance");
    row.append(make("span", "label", label), meter(answer.p[at], limit), make("span", "n", digits(answer.p[at], limit)));
    block.append(row);
  });
  const rule = {
    binary: answer.threshold === null ? "No operating point was chosen: decided at 0.5." : `Operating point: ${finding.positive} at ${+answer.threshold.toPrecision(6)} or more.`,
    multilabel: "Each class by itself, decided at 0.5.",
  }[finding.kind] || "Decided: the most probable class.";
  block.append(make("p", "note", rule));
  return block;
}

function scopeBlock(one) {
  const block = make("section", `verdict ${one.scope}`);
  block.append(make("strong", "", one.withheld ? WITHHELD : one.doubted ? DOUBTED : SCOPES[one.scope]));
  if (one.reasons.length) {
    const list = make("ul");
    list.append(...one.reasons.map((reason) => make("li", "", reason)));
    block.append(list);
  }
  return block;
}

function factsTable(one) {
  const rows = [["patient", one.patient], ["study", one.study], ["series", one.series], ["content", one.digest], ["model", one.model]];
  const table = make("table", "facts");
  const body = make("tbody");
  for (const [name, value] of rows) {
    const row = make("tr");
    const head = make("th", "", name);
    head.scope = "row";
    const cell = make("td");
    cell.append(make("code", "", value));
    row.append(head, cell);
    body.append(row);
  }
  table.append(body);
  return table;
}

const panel = {
  shown: null, // the case
  film: null,
  frame: 0,

  open(one) {
    this.shown = one;
    this.film = null;
    byId("details-case").textContent = one.case;
    byId("answers").replaceChildren(scopeBlock(one));
    byId("answers").classList.toggle("doubted", one.doubted);
    if (!one.withheld) {
      byId("answers").append(...data.findings.map((finding, at) => answerBlock(finding, one.answers[at])));
    }
    const notes = make("ul", "notes");
    notes.append(...one.notes.map((note) => make("li", "", note)));
    byId("facts").replaceChildren(make("h3", "", "Notes"), one.notes.length ? notes : make("p", "note", "none"), make("h3", "", "Record"), factsTable(one));
    byId("details").hidden = false;
    byId("details").scrollTop = 0;
    this.openFilm(one);
  },

  async openFilm(one) {
    byId("film").hidden = !one.film;
    byId("no-film").textContent = one.film ? "" : "No pictures were made of this case.";
    if (!one.film) return;
    const frames = byId("frame");
    frames.max = one.film.frames;
    byId("frames").hidden = one.film.frames < 2;
    const before = byId("overlay-of").value;
    byId("overlay-of").replaceChildren(...one.film.overlays.map((name) => new Option(name)));
    if (one.film.overlays.includes(before)) byId("overlay-of").value = before;
    byId("overlays").hidden = !one.film.overlays.length;
    byId("picture").style.aspectRatio = `${one.film.width} / ${one.film.height}`;
    this.turnTo(Math.floor(one.film.frames / 2));
    try {
      const film = await loadFilm(one);
      if (this.shown !== one) return;
      this.film = film;
      this.draw();
    } catch {
      if (this.shown !== one) return;
      byId("film").hidden = true;
      byId("no-film").textContent = "The pictures of this case cannot be decoded: the page is damaged or not whole.";
    }
  },

  turnTo(frame) {
    const last = this.shown.film.frames - 1;
    this.frame = Math.min(Math.max(frame, 0), last);
    byId("frame").value = this.frame + 1;
    byId("frame-number").textContent = `${this.frame + 1} of ${last + 1}`;
    byId("picture").setAttribute("aria-label", `Slice ${this.frame + 1} of ${last + 1} of ${this.shown.case}`);
    this.draw();
  },

  draw() {
    if (!this.film) return;
    const overlay = byId("overlay-on").checked ? byId("overlay-of").value : "";
    drawFrame(byId("picture"), this.film, this.frame, overlay, byId("opacity").value / 100);
    byId("picture").dataset.drawn = `${this.shown.case} ${this.frame + 1}`;
  },

  close() {
    this.shown = this.film = null;
    byId("details").hidden = true;
  },
};

byId("frame").addEventListener("input", () => panel.turnTo(byId("frame").value - 1));
for (const id of ["overlay-on", "overlay-of", "opacity"]) byId(id).addEventListener("input", () => panel.draw());
byId("picture").addEventListener("wheel", (event) => {
  if (!panel.shown || panel.shown.film.frames < 2) return;
  event.preventDefault();
  panel.turnTo(panel.frame + Math.sign(event.deltaY));
}, { passive: false });
