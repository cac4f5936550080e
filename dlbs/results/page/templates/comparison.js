// The comparison page: verdicts with their intervals, filtered and sorted; the runs of a row on demand.
function showComparison(data) {
  const forest = new Forest(data);
  const panel = document.getElementById("distribution");
  const distribution = new Distribution(panel, data);
  const { rows } = data;
  const toneOf = (row) => data.tones[rows[row].verdict] || "";
  const bounds = ({ ratio, low, high, confidence }) => {
    if (ratio === null) return "–";
    const level = confidence !== null && confidence < 0.95 ? ` at ${Math.round(100 * confidence)} %` : "";
    return low === null ? short(ratio) : `${short(ratio)} [${short(low)}, ${short(high)}${level}]`;
  };
  const longest = (texts) => texts.reduce((most, text) => Math.max(most, text.length), 0);
  const namesOf = (row) => (data.by ? [data.sides[0], rows[row].value] : data.sides);
  let opened = null;

  const opener = (row) => {
    const button = make("button", { type: "button", class: "opener", "aria-expanded": String(opened === row), "aria-controls": "distribution", "aria-label": `runs of ${rows[row].label}${data.by ? `, ${rows[row].value}` : ""}` }, "⋯");
    button.addEventListener("click", () => {
      opened = opened === row ? null : row;
      if (opened === null) panel.replaceChildren();
      else {
        distribution.show(rows[row], namesOf(row)).addEventListener("click", () => { opened = null; panel.replaceChildren(); table.draw(true); document.getElementById("rows").focus(); });
      }
      table.draw(true);
      if (opened !== null) panel.firstChild.focus();
    });
    const cell = make("span", { class: "opened" }, button, ` ${rows[row].label}`);
    return cell;
  };
  const side = (index, title) => ({
    title, isNumber: true, widest: longest(rows.map((row) => row.words[index])), cell: (row) => rows[row].words[index], key: (row) => rows[row].sides[index], hover: (row) => (rows[row].sides[index] === null ? "" : precise(rows[row].sides[index])),
  });
  const state = { sort: "", descending: false, top: 0 };
  const over = data.by ? `over ${data.sides[0]}` : `${data.sides[1]} over ${data.sides[0]}`;
  const narrow = isNarrow();
  const columns = [
    { title: "experiment", widest: longest(rows.map((row) => row.label)), limit: narrow ? 12 : 64, class: () => "wide", cell: opener, key: (row) => rows[row].label, hover: (row) => rows[row].label },
    ...(data.by ? [{ title: data.by, widest: longest(rows.map((row) => row.value)), cell: (row) => rows[row].value, key: (row) => rows[row].value }] : []),
    { title: "verdict", widest: longest(data.verdicts), cell: (row) => rows[row].verdict, key: (row) => data.verdicts.indexOf(rows[row].verdict), class: toneOf },
    { title: "interval", cell: (row) => forest.draw(rows[row], toneOf(row)), key: (row) => rows[row].ratio, extra: () => forest.scale(), hover: (row) => bounds(rows[row]) },
    { title: over, isNumber: true, widest: narrow ? 6 : 22, cell: (row) => (narrow ? short(rows[row].ratio) : bounds(rows[row])), key: (row) => rows[row].ratio, hover: (row) => (rows[row].ratio === null ? "" : [rows[row].ratio, rows[row].low, rows[row].high].filter((value) => value !== null).map(precise).join(", ")) },
    side(0, `${data.sides[0]}, ${data.statistic}`), side(1, data.by ? data.statistic : `${data.sides[1]}, ${data.statistic}`),
    { title: "runs", widest: longest(rows.map((row) => row.runs.join(", "))), cell: (row) => rows[row].runs.join(", "), key: (row) => rows[row].values[0].length + rows[row].values[1].length },
  ];
  if (narrow) {  // verdict and ratio first: what is at the right is off the screen
    const [answer] = columns.splice(columns.findIndex((column) => column.title === "verdict"), 1);
    const [ratio] = columns.splice(columns.findIndex((column) => column.title === over), 1);
    columns.splice(0, 0, answer, ratio);
  }
  const table = new RowTable(document.getElementById("rows"), "results", columns, state);
  const coded = (name, title, values, valueOf) => ({ name, title, values, codes: rows.map((row) => values.indexOf(valueOf(row))), isOpen: true });
  const facetList = [coded("verdict", "verdict", data.verdicts, (row) => row.verdict)];
  if (data.by) facetList.push(coded("value", data.by, [...new Set(rows.map((row) => row.value))], (row) => row.value));
  const select = () => {
    const found = facets.rows();
    document.getElementById("shown").textContent = `${found.length.toLocaleString("en-US")} of ${rows.length.toLocaleString("en-US")}`;
    facets.chips(document.getElementById("chips"));
    state.top = 0;
    table.show(found);
  };
  const facets = new Facets(document.getElementById("facets"), facetList, rows.length, (row) => `${rows[row].label} ${rows[row].value} ${rows[row].verdict}`, { chosen: new Map(), wanted: new Map(), open: new Map(), words: "" }, select);
  select();
}

readData(showComparison);
