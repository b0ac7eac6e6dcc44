// Sets the theme that was chosen, before the first paint.
// @ts-check
"use strict";
{
  const theme = localStorage.getItem("graft-theme");
  if (theme) document.documentElement.dataset.theme = theme;
}
