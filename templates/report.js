"use strict";
// Conveniences only: without it everything is there, too.
for (const filter of document.querySelectorAll(".filter")) {
  const rows = [...filter.parentElement.querySelectorAll(".tests tbody")];
  const [input, output] = [filter.querySelector("input"), filter.querySelector("output")];
  filter.hidden = rows.length < 8;
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      row.hidden = !row.rows[0].textContent.toLowerCase().includes(wanted);
      shown += !row.hidden;
    }
    output.textContent = wanted ? `${shown} of ${rows.length}` : "";
  });
}
for (const box of document.querySelectorAll(".copied")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  const texts = box.matches("pre") ? [box] : [...box.querySelectorAll("pre, .left")];
  const text = texts.map((one) => one.textContent).join("\n");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed here";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  const frame = document.createElement("div");
  frame.className = "frame";
  box.replaceWith(frame);
  frame.append(box, button);
}
// A link to what is folded unfolds it, in browsers that don't do so themselves.
const unfold = () => {
  const target = document.getElementById(location.hash.slice(1));
  for (let one = target; one; one = one.parentElement) if (one.matches("details")) one.open = true;
};
addEventListener("hashchange", unfold);
unfold();
