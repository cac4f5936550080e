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
