// Runs before the first paint: dark or light as chosen here, else as the system says.
(function () {
  let chosen = null;
  try {
    chosen = localStorage.getItem("weir-theme");
  } catch {
    // Storage may be forbidden: the system decides then.
  }
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
})();
