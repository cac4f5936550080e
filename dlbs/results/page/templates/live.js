// The live view: polls the small current progress often, the rest of the page rarely. Updates keep the scroll position and the user's choices.
const newsState = { now: "", content: document.body.dataset.version || "", plots: "" };

async function ask(path, version) {
  const answer = await fetch(path, { headers: version ? { "If-None-Match": version } : {} }).catch(() => null);
  if (!answer) return { problem: "the server does not answer" };
  if (answer.status >= 500) return { problem: (await answer.text()).trim() };
  if (answer.status !== 200) return {};
  return { version: answer.headers.get("ETag"), html: new DOMParser().parseFromString(await answer.text(), "text/html") };
}

// Keeps the scroll position while content above it grows or shrinks.
function holding(change) {
  const marks = [...document.querySelectorAll("main section, main h2, main h3, main details")];
  const anchor = window.scrollY > 0 ? marks.find((one) => one.id && one.getBoundingClientRect().bottom > 0) ||
    marks.find((one) => one.getBoundingClientRect().bottom > 0) : null;
  const id = anchor && (anchor.id || (anchor.querySelector("[id]") || {}).id);
  const before = id ? document.getElementById(id).getBoundingClientRect().top : 0;
  change();
  const after = id && document.getElementById(id);
  if (after) window.scrollBy(0, after.getBoundingClientRect().top - before);
}

function showNow(html) {
  const news = html.getElementById("live");
  const shown = document.getElementById("live");
  if (!news || !shown || news.isEqualNode(shown)) return;
  const table = shown.querySelector(".scroll");
  const left = table ? table.scrollLeft : 0;
  const focused = table && table === document.activeElement;
  holding(() => shown.replaceWith(news));
  const fresh = news.querySelector(".scroll");
  if (fresh) {
    fresh.scrollLeft = left;
    if (focused) fresh.focus({ preventScroll: true });
  }
}

function showNews(news) {
  const focused = document.activeElement && document.activeElement.id;
  const opened = () => document.querySelectorAll("section > details > summary");
  const open = new Set([...opened()].filter((one) => one.parentElement.open).map((one) => one.textContent));
  const rows = document.getElementById("rows");
  const place = rows ? [rows.scrollLeft, rows.scrollTop] : [0, 0];
  const narrow = document.getElementById("narrow");
  const isNarrow = !narrow || narrow.open;
  holding(() => {
    const live = document.getElementById("live");
    const newer = news.getElementById("live");
    if (live && newer) newer.replaceWith(live);  // updated separately
    const drawn = document.getElementById("drawn"), later = news.getElementById("drawn");
    if (newsState.plots && drawn && later) later.replaceWith(drawn);  // until the new ones are drawn
    document.getElementById("content").replaceChildren(...news.body.childNodes);
    for (const one of opened()) if (open.has(one.textContent)) one.parentElement.open = true;
    const again = document.getElementById("narrow");
    if (again) again.open = isNarrow;
    start();
  });
  const fresh = document.getElementById("rows");
  if (fresh) [fresh.scrollLeft, fresh.scrollTop] = place;
  const one = focused && document.getElementById(focused);
  if (!one) return;
  one.focus({ preventScroll: true });
  if (focused === "words") one.setSelectionRange(one.value.length, one.value.length);
}

// The page does not change while it is hidden, or while text is being selected.
const isBusy = () => document.hidden || !document.getSelection().isCollapsed;

async function lookForNow() {
  const made = document.getElementById("made");
  const now = await ask("/now", newsState.now);
  made.textContent = now.problem || `live, ${new Date().toLocaleTimeString()}`;
  if (now.html) {
    newsState.now = now.version;
    showNow(now.html);
  }
  setTimeout(lookForNow, 2000);
}

async function lookForPlots() {
  const shown = document.getElementById("drawn");
  if (!shown || newsState.plots === newsState.content) return;
  const plots = await ask("/plots", newsState.plots);
  if (!plots.html) return;
  newsState.plots = plots.version;
  const now = document.getElementById("drawn");
  if (now) holding(() => now.replaceChildren(...plots.html.body.childNodes));
}

async function lookForNews(path) {
  let wait = 2000;
  if (!isBusy()) {
    const began = performance.now();
    const news = await ask(path, newsState.content);
    if (news.html) {
      newsState.content = news.version;
      showNews(news.html);
    }
    await lookForPlots();
    // A page that takes long to send and render is polled rarely.
    if (news.html) wait = Math.max(wait, 10 * (performance.now() - began));
  }
  setTimeout(lookForNews, wait, path);
}

if (document.body.dataset.live) {
  lookForNow();
  lookForNews(document.body.dataset.live);
}
