// The language of the page: the browser's, until the person chooses.

import { LANGUAGES, PROBLEMS, STRINGS } from './strings.js';

const REMEMBERED = 'spotter-language';

let current = remembered() ?? preferred();

/** The current language, as a BCP 47 tag. */
export const language = () => current;

/** A text, with {names} filled in. */
export function t(key, values = {}) {
  return STRINGS[key][current].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** A text for a number of things: its rows are `key.one` and `key.other`. */
export function plural(key, count) {
  const form = new Intl.PluralRules(current).select(count) === 'one' ? 'one' : 'other';
  return t(`${key}.${form}`, { count: number(count) });
}

/** Title and advice for a problem's code; nothing where the code is newer than this page. */
export const words = (code) => PROBLEMS[code]?.[current];

export const number = (value, digits = 0) =>
  new Intl.NumberFormat(current, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);

/** As the annotated pictures of the server write it. */
export const percent = (score) => `${Math.round(score * 100)} %`;

/** Fills in every element that names its text, and says the language to screen readers. */
export function translate(root = document) {
  document.documentElement.lang = current;
  document.title = t('title');
  for (const element of root.querySelectorAll('[data-text]')) element.textContent = t(element.dataset.text);
  for (const element of root.querySelectorAll('[data-label]')) element.setAttribute('aria-label', t(element.dataset.label));
}

/** Another language, from now on. */
export function choose(tag) {
  current = tag;
  try {
    localStorage.setItem(REMEMBERED, tag);
  } catch {
    // Storage may be forbidden; then the choice holds until the page is closed.
  }
}

function remembered() {
  try {
    const tag = localStorage.getItem(REMEMBERED);
    return tag in LANGUAGES ? tag : null;
  } catch {
    return null;
  }
}

function preferred() {
  const tags = navigator.languages?.length ? navigator.languages : [navigator.language];
  return tags.map((tag) => tag.split('-')[0].toLowerCase()).find((tag) => tag in LANGUAGES) ?? 'en';
}
