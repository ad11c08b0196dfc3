/**
 * The style of all elements. Each color is a custom property that a page can set, such as `--session-accent`. The defaults
 * follow the `color-scheme` of the page.
 */
const CSS = `
:host {
  display: block;
  container-type: inline-size;
  --_text: var(--session-text, light-dark(#1c2024, #edeef0));
  --_faint: var(--session-faint, light-dark(#60646c, #a1a6ad));
  --_page: var(--session-page, light-dark(#f6f7f9, #111214));
  --_card: var(--session-card, light-dark(#ffffff, #1b1d20));
  --_line: var(--session-line, light-dark(#e2e5ea, #303338));
  --_accent: var(--session-accent, light-dark(#1d5fd1, #7fb0ff));
  --_on-accent: var(--session-on-accent, light-dark(#ffffff, #0b1a30));
  --_danger: var(--session-danger, light-dark(#b3261e, #ff9d94));
  --_on-danger: var(--session-on-danger, light-dark(#ffffff, #3a0a06));
  --_good: var(--session-good, light-dark(#16693a, #7fd6a0));
  --_good-page: var(--session-good-page, light-dark(#e3f4e9, #17301f));
  --_radius: var(--session-radius, 0.75rem);
  color: var(--_text);
  font: var(--session-font, 1rem/1.5 system-ui, sans-serif);
}
:host([hidden]), [hidden] { display: none !important; }
*, ::before, ::after { box-sizing: border-box; }

h1, ::slotted([slot='heading']) {
  margin: 0;
  font-size: clamp(1.4rem, 7cqi, 1.75rem);
  line-height: 1.2;
  letter-spacing: -0.01em;
  overflow-wrap: anywhere;
}
h1:focus { outline: none; }
h2 { margin: 0; font: inherit; }
p { margin: 0; overflow-wrap: anywhere; }
ul { display: grid; gap: 0.5rem; margin: 0; padding: 0; list-style: none; }

.message {
  margin-block: 0 1.25rem;
  padding: 0.75rem 1rem;
  border: 1px solid var(--_line);
  border-inline-start: 4px solid var(--_accent);
  border-radius: 0.5rem;
  background: var(--_card);
}
.message:empty { display: none; }
.message.error { border-inline-start-color: var(--_danger); }
.error-text { margin-top: 0.25rem; color: var(--_danger); font-size: 0.9rem; }
.error-text:empty { display: none; }
.lead { margin-block: 0.5rem 1.25rem; color: var(--_faint); }
header { display: flex; flex-wrap: wrap; gap: 0.75rem; align-items: center; justify-content: space-between; }

label { font-weight: 600; }
label.choice { display: flex; gap: 0.5rem; align-items: center; min-height: 2.5rem; font-weight: 400; }
.field { margin-top: 1rem; }
.input { position: relative; margin-top: 0.25rem; }
input:not([type='checkbox']), select {
  width: 100%;
  min-height: 2.75rem;
  padding: 0.5rem 0.75rem;
  border: 1px solid var(--_faint);
  border-radius: 0.5rem;
  background: var(--_page);
  color: inherit;
  font: inherit;
}
input[aria-invalid='true'] { border-color: var(--_danger); }
input[type='checkbox'] { width: 1.25rem; height: 1.25rem; margin: 0; flex: none; accent-color: var(--_accent); }

button {
  min-height: 2.5rem;
  padding: 0.4rem 0.9rem;
  border: 1px solid var(--_line);
  border-radius: 0.5rem;
  background: var(--_card);
  color: inherit;
  font: inherit;
  font-weight: 600;
  cursor: pointer;
}
button:hover { border-color: var(--_faint); }
button[aria-busy='true'] { opacity: 0.6; cursor: default; }
button.primary { border-color: transparent; background: var(--_accent); color: var(--_on-accent); }
button.danger { color: var(--_danger); }
button.danger.solid { border-color: transparent; background: var(--_danger); color: var(--_on-danger); }
:focus-visible { outline: 3px solid var(--_accent); outline-offset: 2px; }

.card { padding: 2rem 1.5rem; border: 1px solid var(--_line); border-radius: var(--_radius); background: var(--_card); }
.card > .message { margin-block: 1rem 0; background: var(--_page); }
.login .primary { width: 100%; margin-top: 1rem; }
.login .choice { margin-top: 0.75rem; }
.login .input > input { padding-inline-end: 3.25rem; }
.login .input > input#username { padding-inline-end: 0.75rem; }
.toggle {
  position: absolute;
  inset-block: 0;
  inset-inline-end: 0;
  width: 2.75rem;
  min-height: 0;
  padding: 0;
  border: 0;
  background: none;
}
.toggle > .icon { display: block; margin: auto; }

.icon { width: 1.5rem; height: 1.5rem; fill: none; stroke: currentColor; stroke-width: 1.6; stroke-linecap: round; }
.row { border: 1px solid var(--_line); border-radius: var(--_radius); background: var(--_card); }
.bar { display: flex; gap: 0.5rem; align-items: center; padding-inline-end: 0.75rem; }
.bar > input { margin-inline-start: 0.75rem; }
.bar > h2 { flex: 1; min-width: 0; }
.summary {
  display: grid;
  grid-template-columns: auto minmax(0, 1fr) auto;
  gap: 0 0.75rem;
  align-items: center;
  width: 100%;
  min-height: 3.75rem;
  padding: 0.5rem 0.25rem 0.5rem 0.75rem;
  border: 0;
  border-radius: var(--_radius);
  background: none;
  text-align: start;
  font-weight: 400;
}
.summary > .icon { width: 2.25rem; height: 2.25rem; padding: 0.45rem; border-radius: 50%; background: var(--_page); color: var(--_faint); }
.summary > .chevron { width: 1.25rem; height: 1.25rem; padding: 0; background: none; }
.summary[aria-expanded='true'] > .chevron { transform: rotate(180deg); }
.name {
  display: -webkit-box;
  overflow: hidden;
  font-weight: 600;
  line-height: 1.3;
  overflow-wrap: anywhere;
  -webkit-box-orient: vertical;
  -webkit-line-clamp: 2;
}
.line { display: flex; gap: 0.5rem; align-items: center; min-width: 0; }
.badge { flex: none; padding: 0 0.5rem; border-radius: 1rem; background: var(--_good-page); color: var(--_good); font-size: 0.8rem; font-weight: 600; }
.badge.count { background: var(--_page); color: var(--_faint); }
.meta { overflow: hidden; color: var(--_faint); font-size: 0.875rem; text-overflow: ellipsis; white-space: nowrap; }
.bar > .quick { flex: none; }
.row > .error-text { padding: 0 0.75rem 0.75rem; }
.panel { padding: 0 0.75rem 0.75rem; }
.session + .session { margin-top: 0.75rem; padding-top: 0.75rem; border-top: 1px solid var(--_line); }
.panel button { margin-top: 0.5rem; }
dl { display: grid; grid-template-columns: fit-content(40%) minmax(0, 1fr); gap: 0.15rem 1rem; margin: 0; font-size: 0.9rem; }
dt { color: var(--_faint); }
dd { margin: 0; overflow-wrap: anywhere; }
.after { margin-top: 1rem; }
.filters { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(12rem, 100%), 1fr)); gap: 0 1rem; align-items: end; margin-bottom: 1.25rem; }
.actions { display: flex; flex-wrap: wrap; gap: 0.5rem 1rem; align-items: center; margin-block: 0.75rem; }
.section { margin-bottom: 0.75rem; border: 1px solid var(--_line); border-radius: var(--_radius); background: var(--_card); }
.section > summary { padding: 0.75rem; border-radius: var(--_radius); }
summary { cursor: pointer; }
summary > h2 { display: inline; font-weight: 600; }
.section h3, .section h4 { margin: 0; font-size: 1rem; font-weight: 600; overflow-wrap: anywhere; }
.section ul { margin-block: 0.5rem; }
.section .item { padding: 0.75rem; }
.letter { padding-top: 0.5rem; border-top: 1px solid var(--_line); }
.chart { margin: 1rem 0; }
.chart > svg { display: block; width: 100%; height: 8rem; border-bottom: 1px solid var(--_faint); }
rect.logins { fill: var(--_accent); }
rect.endings { fill: var(--_faint); }
.axis, .chart > figcaption { display: flex; flex-wrap: wrap; gap: 0.25rem 1rem; justify-content: space-between; color: var(--_faint); font-size: 0.875rem; }
.chart > figcaption { justify-content: flex-start; margin-top: 0.5rem; }
.key::before { content: ''; display: inline-block; width: 0.75rem; height: 0.75rem; margin-inline-end: 0.4rem; background: var(--_accent); }
.key.endings::before { background: var(--_faint); }
table { width: 100%; margin-top: 0.5rem; border-collapse: collapse; font-size: 0.875rem; }
th, td { padding: 0.35rem 0.5rem 0.35rem 0; border-bottom: 1px solid var(--_line); text-align: start; vertical-align: top; overflow-wrap: anywhere; }
.history { margin-bottom: 1.25rem; padding: 1rem; border: 1px solid var(--_line); border-radius: var(--_radius); background: var(--_card); }
.history > h2 { font-size: 1.15rem; font-weight: 600; overflow-wrap: anywhere; }
.history > h2:focus { outline: none; }
ol { display: grid; gap: 0.5rem; margin: 0.75rem 0; padding: 0; list-style: none; }
.event > strong, .event > .facts { display: block; overflow-wrap: anywhere; }
.event > .facts { color: var(--_faint); font-size: 0.875rem; }

dialog { max-width: min(24rem, calc(100vw - 2rem)); padding: 1.5rem; border: 1px solid var(--_line); border-radius: 1rem; background: var(--_card); color: inherit; }
dialog::backdrop { background: rgb(0 0 0 / 45%); }
dialog h2 { font-size: 1.15rem; font-weight: 600; overflow-wrap: anywhere; }
dialog p { margin-top: 0.75rem; color: var(--_faint); }
.choices { display: flex; flex-wrap: wrap; gap: 0.75rem; justify-content: flex-end; margin-top: 1.5rem; }

/* On a phone, the whole row opens the details, and the button is in there. */
@container (width < 30rem) {
  .quick { display: none; }
  .after > button { width: 100%; }
  .card { padding: 1.5rem 1rem; }
}
/* On wider screens, the button is in the row already. */
@container (width >= 30rem) {
  .has-quick .session button { display: none; }
}
@media (prefers-reduced-motion: no-preference) {
  .chevron { transition: transform 0.15s; }
}
`;

let sheet: CSSStyleSheet | undefined;

/** Returns the style sheet, which all elements share. A strict Content-Security-Policy permits constructed style sheets. */
export function styleSheet(): CSSStyleSheet {
  if (sheet) return sheet;
  sheet = new CSSStyleSheet();
  sheet.replaceSync(CSS);
  return sheet;
}
