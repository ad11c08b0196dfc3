import { GERMAN } from './texts.de.js';
import { ENGLISH } from './texts.en.js';
import type { SessionTexts } from './texts.js';

/** A language with its texts. */
export interface Language {
  /** A BCP 47 tag, such as "de-AT". */
  readonly tag: string;
  readonly texts: SessionTexts;
}

const INCLUDED: Readonly<Record<string, SessionTexts>> = { en: ENGLISH, de: GERMAN };

/**
 * Returns a language. Texts that neither the application nor the package has in it are in English.
 *
 * @param tag a BCP 47 tag
 * @param own the application's texts by language
 */
export function languageOf(tag: string, own: Readonly<Record<string, Partial<SessionTexts>>> = {}): Language {
  const [base = tag] = tag.toLowerCase().split('-');
  return { tag, texts: { ...ENGLISH, ...INCLUDED[base], ...own[base], ...own[tag] } };
}
