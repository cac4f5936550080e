// Blocks with prompts: the copy button copies the commands, without `$` and without output. Blocks with boxes keep their lines.
document.querySelectorAll("pre > code").forEach((code) => {
  const lines = code.textContent.split("\n");
  if (/[┏┃│]/.test(code.textContent)) {
    code.parentElement.classList.add("box");
    code.replaceChildren(...lines.map((line, number) => {
      const part = document.createElement("span");
      part.textContent = number < lines.length - 1 ? `${line}\n` : line;
      part.classList.toggle("words", !/[┏┡┃│└]/.test(line));
      return part;
    }));
  }
  if (!lines.some((line) => line.startsWith("$ "))) return;
  const commands = [];
  let continues = false;
  for (const line of lines) {
    if (continues || line.startsWith("$ ")) {
      commands.push(line.replace(/^\$ /, ""));
      continues = /\\$/.test(line);
    }
  }
  code.dataset.commands = commands.join("\n");
});
document.addEventListener("click", (event) => {
  const button = event.target.closest(".md-code__button");
  const commands = button && button.closest("pre, .highlight")?.querySelector("code[data-commands]")?.dataset.commands;
  if (!commands) return;
  event.stopImmediatePropagation();
  navigator.clipboard.writeText(commands);
}, true);
// Words with hyphens, such as options, are not broken at these. Wide boxes get a smaller font, if it stays readable.
document.querySelectorAll(".md-typeset code").forEach((code) => {
  const found = document.createTreeWalker(code, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (found.nextNode()) texts.push(found.currentNode);
  for (const text of texts) {
    if (!/-\S/.test(text.data) || (code.closest(".box") && !text.parentElement.closest(".words"))) continue;
    text.replaceWith(...text.data.split(/(\s+)/).map((word) => {
      if (!/-\S/.test(word)) return word;
      const whole = document.createElement("span");
      whole.className = "word";
      whole.textContent = word;
      return whole;
    }));
  }
});
document.querySelectorAll("pre.box > code").forEach((code) => {
  const share = code.clientWidth / code.scrollWidth;
  if (share < 1 && share > 0.75) code.style.fontSize = `${0.58 * share * 0.99}rem`;
});
