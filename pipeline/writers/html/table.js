"use strict";
// What the table shows: the cells of each case, their order, and which cases fit the filters. No drawing.

const data = JSON.parse(document.getElementById("data").textContent);
const WITHHELD = "withheld: unlike the training data";
const DOUBTED = "out of scope: unlike the training data, so that nothing measured of this model holds for the answers";
const NONE = "none";

// The one probability of a finding that has a column; see summaries.py.
function chance(finding, answer) {
  if (finding.kind === "binary") return answer.p[finding.classes.indexOf(finding.positive)];
  if (finding.kind === "multilabel") return Math.max(...answer.p);
  return answer.p[finding.classes.indexOf(answer.decision)];
}

// Indices of the decided classes; of a multilabel finding without any, the one after the last class.
function decided(finding, answer) {
  if (finding.kind !== "multilabel") return [finding.classes.indexOf(answer.decision)];
  const found = answer.decision ? answer.decision.split("|").map((name) => finding.classes.indexOf(name)) : [];
  return found.length ? found : [finding.classes.length];
}

// As many digits as it takes to stand on its own side of the operating point; never 0 or 1 where it is not.
function digits(p, threshold) {
  if (p > 0 && p < 0.0005) return "<0.001";
  if (p < 1 && p >= 0.9995) return ">0.999";
  for (let places = 3; places < 9; places++) {
    const text = p.toFixed(places);
    if (threshold === null || (Number(text) >= Number(threshold.toFixed(places))) === (p >= threshold)) return text;
  }
  return String(p);
}

const cases = data.cases.map((one, index) => {
  const answers = one.answers.map((answer, at) => answer && {
    ...answer,
    chance: chance(data.findings[at], answer),
    decided: decided(data.findings[at], answer),
    shown: answer.decision.replaceAll("|", ", ") || NONE,
  });
  const out = one.scope === "out_of_scope";
  const withheld = out && answers.every((answer) => !answer);
  const words = [one.case, one.patient, one.study, one.series, one.scope.replaceAll("_", " "), ...one.reasons, ...one.notes];
  for (const answer of answers) if (answer) words.push(answer.shown);
  return { ...one, index, answers, withheld, doubted: out && !withheld, text: words.join("\n").toLowerCase() };
});

const SCOPES = { in_scope: "in scope", out_of_scope: "out of scope", not_checked: "not checked" };

// Columns of the table: what stands in the head, what a case is sorted by (null goes last), and whether larger comes first.
const columns = [{ kind: "case", title: "Case", key: (one) => one.index }];
data.findings.forEach((finding, at) => {
  const key = (one) => one.answers[at] && one.answers[at].decided;
  columns.push({ kind: "decision", title: finding.name, finding: at, key });
  const title = { binary: `p(${finding.positive})`, multilabel: "p(highest)" }[finding.kind] || "p(decided)";
  const value = (one) => (one.answers[at] ? one.answers[at].chance : null);
  columns.push({ kind: "chance", title, finding: at, key: value, down: true });
});
columns.push({ kind: "scope", title: "Scope", key: (one) => ["out_of_scope", "not_checked", "in_scope"].indexOf(one.scope) });
columns.push({ kind: "notes", title: "Notes", key: (one) => one.notes.length, down: true });

function compare(a, b) {
  if (!Array.isArray(a)) return a - b;
  for (let at = 0; at < Math.min(a.length, b.length); at++) if (a[at] !== b[at]) return a[at] - b[at];
  return a.length - b.length;
}

// Cases in the order of a column; `sign` is 1 (ascending), -1 (descending) or 0 (by case). Equal ones keep the order of cases.
function ordered(list, column, sign) {
  if (!sign) return list;
  return list.slice().sort((one, other) => {
    const a = column.key(one);
    const b = column.key(other);
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * compare(a, b);
  });
}

// Whether a case fits: text, decisions (finding to class index), scope, [finding, low, high] of a probability, notes.
function fits(one, filter) {
  if (filter.words.some((word) => !one.text.includes(word))) return false;
  if (filter.scope && one.scope !== filter.scope) return false;
  if (filter.notes && !one.notes.length) return false;
  for (const [at, choice] of filter.decisions) {
    if (!one.answers[at] || !one.answers[at].decided.includes(choice)) return false;
  }
  if (!filter.range) return true;
  const answer = one.answers[filter.range.finding];
  return answer !== null && answer.chance >= filter.range.low && answer.chance <= filter.range.high;
}

// predictions.csv of these cases, cell for cell: an apostrophe before what a spreadsheet would run; see cells.py.
const FORMULA = /^'*[=+\-@\t\r\n＝＋－＠]/;

function csv(list) {
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const cell = (value) => {
    if (value === null) return "";
    if (typeof value === "number") return value.toFixed(6);
    return quoted(FORMULA.test(value) ? `'${value}` : value);
  };
  const lines = list.map((one) => {
    const said = data.findings.flatMap((finding, at) => {
      const answer = one.answers[at];
      return answer ? [answer.decision, ...answer.p, answer.threshold] : Array(finding.classes.length + 2).fill(null);
    });
    const tail = [one.scope, one.reasons.join("; "), one.model, one.digest, one.notes.join("; ")];
    return [one.case, one.patient, one.study, one.series, ...said, ...tail].map(cell).join(",");
  });
  return [data.columns.map(quoted).join(","), ...lines].map((line) => line + "\n").join("");
}
