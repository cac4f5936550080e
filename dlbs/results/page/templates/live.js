// The live view: polls the small current progress often, the rest of the page rarely.
const newsState = { now: "", content: document.body.dataset.version || "", plots: "", error: "" };

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
  if (news && shown && !news.isEqualNode(shown)) keeping(shown, () => shown.replaceWith(news));
}

function showNews(news) {
  const content = document.getElementById("content");
  keeping(content, () => {
    const live = document.getElementById("live");
    const newer = news.getElementById("live");
    if (live && newer) newer.replaceWith(live);  // updated separately
    const drawn = document.getElementById("drawn"), later = news.getElementById("drawn");
    if (newsState.plots && drawn && later) later.replaceWith(drawn);  // until the new ones are drawn
    if (view.table) view.table.keepRow();
    content.replaceChildren(...news.body.childNodes);
    start();
  });
}

// The page does not change while it is hidden, or while text is being selected.
const isBusy = () => document.hidden || !document.getSelection().isCollapsed;

const failure = (error) => `the page could not be updated: ${error}`;

// An error must not end the updates: the same version is asked for again.
async function lookForNow() {
  const made = document.getElementById("made");
  try {
    const now = await ask("/now", newsState.now);
    made.textContent = now.problem || newsState.error || `live, ${new Date().toLocaleTimeString("en-GB")}`;
    if (now.html) {
      showNow(now.html);
      newsState.now = now.version;
    }
  } catch (error) {
    made.textContent = failure(error);
  } finally {
    setTimeout(lookForNow, 2000);
  }
}

async function lookForPlots() {
  const shown = document.getElementById("drawn");
  if (!shown || newsState.plots === newsState.content) return;
  const plots = await ask("/plots", newsState.plots);
  if (!plots.html) return;
  const now = document.getElementById("drawn");
  if (now) keeping(now, () => now.replaceChildren(...plots.html.body.childNodes));
  newsState.plots = plots.version;
}

async function lookForNews(path) {
  const began = performance.now();
  let isNew = false;
  try {
    if (isBusy()) return;
    const news = await ask(path, newsState.content);
    isNew = Boolean(news.html);
    if (isNew) {
      showNews(news.html);
      newsState.content = news.version;
    }
    await lookForPlots();
    newsState.error = "";
  } catch (error) {
    newsState.error = document.getElementById("made").textContent = failure(error);
  } finally {
    // A page that takes long to send and render is polled rarely.
    setTimeout(lookForNews, isNew ? Math.max(2000, 10 * (performance.now() - began)) : 2000, path);
  }
}

if (document.body.dataset.live) {
  lookForNow();
  lookForNews(document.body.dataset.live);
}
