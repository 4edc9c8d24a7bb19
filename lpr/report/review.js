// Corrections stay in the browser until they are saved, and survive a reload where it has a storage.
const { columns, rows } = JSON.parse(document.getElementById("rows").textContent);
const key = "lpr review " + location.pathname + " " + document.body.dataset.made;
let corrections = {};
try { corrections = JSON.parse(localStorage.getItem(key)) || {}; } catch { /* no storage: they live with the page */ }
const said = document.getElementById("said");
let unsaved = Object.keys(corrections).length > 0;

function show() {
  for (const article of document.querySelectorAll("article")) {
    const value = corrections[article.dataset.row] || "";
    article.classList.toggle("done", value !== "");
    const input = article.querySelector("input");
    if (input.value.toUpperCase() !== value) input.value = value;
  }
  said.textContent = Object.keys(corrections).length + " of " + rows.length + " corrected or confirmed";
}

function correct(article, text) {
  const value = text.toUpperCase().replace(/[\s.-]/g, "");
  if (value) corrections[article.dataset.row] = value;
  else delete corrections[article.dataset.row];
  unsaved = true;
  try { localStorage.setItem(key, JSON.stringify(corrections)); } catch { /* as above */ }
  show();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-text]");
  if (button) correct(button.closest("article"), button.dataset.text);
});
document.addEventListener("input", (event) => {
  if (event.target.matches("article input")) correct(event.target.closest("article"), event.target.value);
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !event.target.matches("article input")) return;
  const inputs = [...document.querySelectorAll("article input")];
  inputs[inputs.indexOf(event.target) + 1]?.focus();
});
document.getElementById("save").addEventListener("click", () => {
  const quoted = (value) => (/[",\r\n]/.test(value) ? '"' + value.replaceAll('"', '""') + '"' : value);
  const lines = rows.map((row, at) => [...row, corrections[at] || ""]);
  const text = [columns, ...lines].map((line) => line.map(quoted).join(",") + "\n").join("");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = "review.csv";
  link.click();
  unsaved = false;
});
window.addEventListener("beforeunload", (event) => { if (unsaved) event.preventDefault(); });
show();
