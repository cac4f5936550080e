// A table of any number of rows, of which only the visible ones are rendered: all rows have the same height. On paper, the first 300.
const SPARE_ROWS = 15, PRINTED_ROWS = 300, WIDEST = 36;

class RowTable {
  // columns: {title, isNumber, widest (characters), onScreen (not on paper), cell(row) → text or node, key(row) → number, text or null, class(row)}
  // state: {sort, descending, top}, kept by the caller; `ordered` is called with the rows in their order;
  // `nameOf` identifies a row among those of the table that replaces this one
  constructor(region, name, columns, state) {
    Object.assign(this, { region, columns, state, rows: [], order: [], height: 0, from: -1, to: -1, ordered: () => {}, nameOf: String });
    const titles = columns.map((column) => this.heading(column));
    this.above = make("tbody");
    this.body = make("tbody");
    this.below = make("tbody");
    this.table = make("table", { id: name }, make("thead", {}, make("tr", { "aria-rowindex": 1 }, ...titles)), this.above, this.body, this.below);
    region.replaceChildren(this.table);
    region.addEventListener("scroll", () => { this.state.top = region.scrollTop; this.draw(); }, { passive: true });
    new ResizeObserver(() => this.draw()).observe(region);
    isPrinted.addEventListener("change", () => this.draw(!printing));
    for (const event of ["beforeprint", "afterprint"]) addEventListener(event, () => this.draw(true));
  }

  heading(column) {
    const button = make("button", { type: "button" }, column.title);
    button.addEventListener("click", () => {
      this.state.descending = this.state.sort === column.title ? !this.state.descending : Boolean(column.isNumber);
      this.state.sort = column.title;
      this.show(this.rows);
    });
    const heading = make("th", { scope: "col", class: this.kind(column), "aria-sort": "none", "data-title": column.title }, button);
    if (column.extra) heading.append(column.extra());
    if (column.widest) heading.style.minWidth = `${0.88 * Math.min(column.widest, column.limit || WIDEST)}ch`;
    return heading;
  }

  // Lets the table that is built next with the same state begin with the same row, wherever that row is then.
  keepRow() {
    const { scrollTop } = this.region;
    const index = Math.floor(scrollTop / this.height);
    this.state.kept = scrollTop && index < this.order.length ? { name: this.nameOf(this.order[index]), rest: scrollTop - index * this.height } : null;
  }

  kind(column) {
    return [column.isNumber ? "number" : "", column.onScreen ? "onscreen" : ""].join(" ").trim() || null;
  }

  // Rows without a value in the sorted column are last in both orders.
  show(rows) {
    this.rows = rows;
    const at = this.columns.findIndex((column) => column.title === this.state.sort);
    this.order = [...rows];
    if (at >= 0) {
      const { key } = this.columns[at];
      const keys = new Map(rows.map((row) => [row, key(row)]));
      const sign = this.state.descending ? -1 : 1;
      this.order.sort((a, b) => {
        const x = keys.get(a), y = keys.get(b);
        if (x === null || y === null) return (x === null) - (y === null);
        if (typeof x === "string") return sign * x.localeCompare(y, undefined, { numeric: true });
        return sign * (x - y);
      });
    }
    [...this.table.tHead.rows[0].cells].forEach((cell, index) => {
      cell.setAttribute("aria-sort", index !== at ? "none" : this.state.descending ? "descending" : "ascending");
    });
    this.table.setAttribute("aria-rowcount", rows.length + 1);
    this.region.scrollTop = this.state.top || 0;
    this.draw(true);
    this.showKept();
    this.ordered(this.order);
  }

  showKept() {
    const { kept } = this.state;
    this.state.kept = null;
    const index = kept ? this.order.findIndex((row) => this.nameOf(row) === kept.name) : -1;
    this.region.scrollTop = index < 0 ? this.state.top : index * this.height + kept.rest;
    this.draw();
  }

  draw(anew) {
    const count = this.order.length;
    let from = 0, to = Math.min(count, PRINTED_ROWS);
    const onPaper = printing || isPrinted.matches;
    if (!onPaper) {
      const height = this.height || 28;
      from = Math.max(0, Math.min(count, Math.floor(this.region.scrollTop / height)) - SPARE_ROWS);
      to = Math.min(count, from + Math.ceil(this.region.clientHeight / height) + 2 * SPARE_ROWS);
    }
    if (!anew && from === this.from && to === this.to) return;
    [this.from, this.to] = [from, to];
    this.body.replaceChildren(...this.order.slice(from, to).map((row, index) => this.line(row, from + index)));
    if (!this.height && this.body.rows.length) this.height = this.body.rows[0].getBoundingClientRect().height;
    this.pad(this.above, from, onPaper);
    this.pad(this.below, count - to, onPaper);
  }

  line(row, index) {
    const cells = this.columns.map((column) => {
      const cell = make("td", { class: [this.kind(column), column.class ? column.class(row) : ""].join(" ").trim() || null }, column.cell(row));
      const title = column.hover ? column.hover(row) : cell.textContent.length > WIDEST ? cell.textContent : "";
      if (title) cell.title = title;
      return cell;
    });
    return make("tr", { "aria-rowindex": index + 2 }, ...cells);
  }

  pad(part, count, onPaper) {
    part.replaceChildren();
    if (!count) return;
    if (onPaper) {
      part.append(make("tr", {}, make("td", { colspan: this.columns.length }, `and ${counted(count, "more row")}: filter to print them`)));
      return;
    }
    const cell = make("td", { colspan: this.columns.length, class: "pad" });
    cell.style.height = `${count * this.height}px`;
    part.append(make("tr", { "aria-hidden": "true" }, cell));
  }
}
