// Converts the data of the experiments to table columns, facets and texts.
function experimentColumns(data, state) {
  const longest = (texts) => texts.reduce((most, text) => Math.max(most, text.length), 0);
  const ofParameter = ({ title, values, codes, numbers }) => ({
    title, isNumber: Boolean(numbers), widest: Math.max(title.length + 2, longest(values)),
    cell: (row) => values[codes[row]] ?? "", key: (row) => (codes[row] < 0 ? null : codes[row]),
  });
  const isBad = new Set(data.bad);
  const { status, reasons, warnings, logs, links } = data;
  const reasonOf = (row) => reasons.values[reasons.codes[row]] || "";
  const warningsOf = (row) => (warnings.codes[row] ? warnings.codes[row].map((code) => warnings.values[code]).join(", ") : "");
  const place = (row) => logs.prefix + logs.rest[row];
  const linked = (row) => {
    const words = logs.rest[row];
    if (links.rest[row] === null) return words;
    return make("a", { href: links.prefix + links.rest[row] }, words);
  };
  // A number with its interval and the mark of doubt, as in the tables of dlbs.
  const figure = ({ values, bounds }, row) => {
    if (values[row] === null) return short(null);
    const interval = bounds && bounds[row] ? ` [${bounds[row].map(short).join(", ")}]` : "";
    return `${state.exact ? values[row] : short(values[row])}${interval}${warnings.codes[row] ? " ⚠" : ""}`;
  };
  const outcome = { ...ofParameter({ title: "status", ...status }), isNumber: false, class: (row) => (isBad.has(status.values[status.codes[row]]) ? "bad" : ""), hover: reasonOf };
  const columns = [
    ...data.parameters.filter((column) => column.label).map(ofParameter),
    ...(isNarrow() ? [] : [outcome]),  // there it is last, because the numbers matter more
    ...data.figures.map((one) => ({
      title: one.title, isNumber: true, widest: one.bounds ? 24 : Math.max(11, Math.ceil(one.title.length / 2) + 2), cell: (row) => figure(one, row),
      key: (row) => one.values[row], hover: (row) => (one.values[row] === null ? "" : precise(one.values[row])),
    })),
  ];
  // Beside the status, the most important number, and before the others, so that it can be seen.
  const doubts = { title: "warnings", widest: Math.max(10, longest(warnings.values)), cell: warningsOf, key: (row) => warningsOf(row) || null, class: (row) => (warnings.codes[row] ? "doubt" : "") };
  if (warnings.values.length) columns.splice(columns.length - Math.max(0, data.figures.length - 1), 0, doubts);
  if (isNarrow()) columns.push(outcome);
  if (logs.rest.some(Boolean)) {
    columns.push({ title: "log", onScreen: true, widest: longest(logs.rest), cell: linked, key: (row) => place(row) || null, hover: place });
  }
  return columns;
}

function experimentFacets(data) {
  const facets = [{ name: "status", title: "status", ...data.status }];
  if (data.reasons.values.length) facets.push({ name: "reason", title: "reason", ...data.reasons });
  if (data.warnings.values.length) facets.push({ name: "doubt", title: "doubtful", values: data.warnings.values, codes: data.warnings.codes.map((codes) => codes || -1) });
  const labels = data.parameters.filter((column) => column.label && column.values.length > 1);
  const others = data.parameters.filter((column) => !column.label && column.values.length > 1);
  return [...labels, ...facets, ...others].map((facet, index) => ({ ...facet, isOpen: index < 3 && facet.values.length <= 40 }));
}

const experimentText = (data) => (row) => [
  data.common, ...data.parameters.map((column) => column.values[column.codes[row]] || ""), data.status.values[data.status.codes[row]],
  data.reasons.values[data.reasons.codes[row]] || "", ...(data.warnings.codes[row] || []).map((code) => data.warnings.values[code]),
].join(" ");
