// The live view: polls the small current progress often, the rest of the page rarely.
const newsState = { now: "", content: document.body.dataset.version || "", plots: "" };

async function ask(path, version) {
  const answer = await fetch(path, { headers: version ? { "If-None-Match": version } : {} }).catch(() => null);
  if (!answer) return { problem: "the server does not answer" };
  if (answer.status >= 500) return { problem: (await answer.text()).trim() };
  if (answer.status !== 200) return {};
  return { version: answer.headers.get("ETag"), html: new DOMParser().parseFromString(await answer.text(), "text/html") };
}

function showNow(html) {
  const news = html.getElementById("live");
  const shown = document.getElementById("live");
  if (news && shown && !news.isEqualNode(shown)) keeping(() => shown.replaceWith(news));
}

function showNews(news) {
  keeping(() => {
    const live = document.getElementById("live");
    const newer = news.getElementById("live");
    if (live && newer) newer.replaceWith(live);  // updated separately
    const drawn = document.getElementById("drawn"), later = news.getElementById("drawn");
    if (newsState.plots && drawn && later) later.replaceWith(drawn);  // until the new ones are drawn
    if (view.table) view.table.keepRow();
    document.getElementById("content").replaceChildren(...news.body.childNodes);
    start();
  });
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
  if (now) keeping(() => now.replaceChildren(...plots.html.body.childNodes));
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
