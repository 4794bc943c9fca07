// Sets the colour theme before the first paint: the learner's choice, else the system's.
// A classic script in <head>, because a module would run after the first paint.
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => {
    try {
      return localStorage.getItem("sparkle.theme");
    } catch {
      return null; // storage is blocked
    }
  };
  const apply = () => {
    root.dataset.theme = chosen() ?? (dark.matches ? "dark" : "light");
    const paper = root.dataset.theme === "dark" ? "#141716" : "#fbfaf7";
    document.querySelector("meta[name=theme-color]")?.setAttribute("content", paper);
  };
  dark.addEventListener("change", apply);
  addEventListener("sparkle:theme", apply);
  apply();
})();
