// The live view: looks for news, and shows them without losing what was chosen, opened or typed.
async function lookForNews(path, known) {
  let version = known;
  const made = document.getElementById("made");
  const answer = await fetch(path, { headers: version ? { "If-None-Match": version } : {} }).catch(() => null);
  if (!answer) made.textContent = "the server does not answer";
  else if (answer.status === 200) {
    version = answer.headers.get("ETag");
    showNews(new DOMParser().parseFromString(await answer.text(), "text/html"));
    made.textContent = `live, ${new Date().toLocaleTimeString()}`;
  } else if (answer.status >= 500) made.textContent = (await answer.text()).trim();
  setTimeout(lookForNews, 2000, path, version);
}

function showNews(news) {
  const focused = document.activeElement && document.activeElement.id;
  const opened = () => document.querySelectorAll("section > details > summary");
  const open = new Set([...opened()].filter((one) => one.parentElement.open).map((one) => one.textContent));
  document.getElementById("content").replaceChildren(...news.body.childNodes);
  for (const one of opened()) if (open.has(one.textContent)) one.parentElement.open = true;
  start();
  if (focused !== "words") return;
  const words = document.getElementById("words");
  words.focus();
  words.setSelectionRange(words.value.length, words.value.length);
}

if (document.body.dataset.live) lookForNews(document.body.dataset.live, "");
