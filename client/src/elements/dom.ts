/** Small helpers that build DOM nodes. None of them parses HTML, because device names are untrusted. */

type Attributes = Readonly<Record<string, string | number | boolean | undefined>>;

/**
 * Creates an element.
 *
 * @param attributes `true` sets an empty attribute; `false` and `undefined` set none
 * @param children strings become text nodes
 */
export function h<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Attributes = {},
  ...children: readonly (Node | string)[]
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  setAttributes(element, attributes);
  element.append(...children);
  return element;
}

/** Sets the text of an element, unless it has that text already: screen readers announce each change of a live region. */
export function write(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Puts the children of a list in this order. Children that stay are not moved, because moving one would lose the focus. */
export function arrange(list: Element, children: readonly Element[]): void {
  for (const child of [...list.children]) if (!children.includes(child)) child.remove();
  children.forEach((child, at) => {
    if (list.children[at] !== child) list.insertBefore(child, list.children[at] ?? null);
  });
}

function setAttributes(element: Element, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : String(value));
  }
}

/** Creates an element of a drawing. */
export function svg<Name extends keyof SVGElementTagNameMap>(
  name: Name,
  attributes: Attributes = {},
  ...children: readonly (Node | string)[]
): SVGElementTagNameMap[Name] {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  setAttributes(element, attributes);
  element.append(...children);
  return element;
}

/** The outlines of the icons, by the kind of device. */
const OUTLINES = {
  pc: 'M5.5 5h13A1.5 1.5 0 0 1 20 6.5v8a1.5 1.5 0 0 1-1.5 1.5h-13A1.5 1.5 0 0 1 4 14.5v-8A1.5 1.5 0 0 1 5.5 5zM2 19.5h20',
  mobile: 'M9 2.5h6a2 2 0 0 1 2 2v15a2 2 0 0 1-2 2H9a2 2 0 0 1-2-2v-15a2 2 0 0 1 2-2zM11 18.5h2',
  tablet: 'M6 3h12a2 2 0 0 1 2 2v14a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2V5a2 2 0 0 1 2-2zM11 18h2',
  tv: 'M4.5 4.5h15a2 2 0 0 1 2 2V15a2 2 0 0 1-2 2h-15a2 2 0 0 1-2-2V6.5a2 2 0 0 1 2-2zM8 20.5h8',
  bot: 'M6 8h12a2 2 0 0 1 2 2v7a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2v-7a2 2 0 0 1 2-2zM12 8V4M9 12.5v2M15 12.5v2',
  other: 'M5 4h14a2 2 0 0 1 2 2v12a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2V6a2 2 0 0 1 2-2zM7 9l3 3-3 3M12.5 15H17',
  eye: 'M2 12s3.5-6.5 10-6.5S22 12 22 12s-3.5 6.5-10 6.5S2 12 2 12zM9.2 12a2.8 2.8 0 1 0 5.6 0a2.8 2.8 0 1 0-5.6 0',
  eyeOff:
    'M4 4l16 16M6 7.2C3.4 9 2 12 2 12s3.5 6.5 10 6.5c1.7 0 3.2-.4 4.5-1M9.5 5.8A10 10 0 0 1 12 5.5C18.5 5.5 22 12 22 12s-.9 1.6-2.5 3.2',
  chevron: 'M6 9l6 6 6-6',
} as const;

export type IconName = keyof typeof OUTLINES;

/** Creates an icon that screen readers ignore. */
export function icon(name: IconName): SVGSVGElement {
  const drawing = { viewBox: '0 0 24 24', 'aria-hidden': 'true', class: `icon ${name}` };
  return svg('svg', drawing, svg('path', { d: OUTLINES[name] }));
}
