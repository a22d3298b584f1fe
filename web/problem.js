// What went wrong, from the server or in the page, and the panel that says so.

import { t, words } from './language.js';
import { element } from './element.js';

export class Problem extends Error {
  constructor(fields) {
    super(fields.detail ?? fields.code);
    Object.assign(this, fields);
  }

  /** One of the page's own. */
  static own(code) {
    return new Problem({ code });
  }

  /** From an answer that is not a success: problem+json, or whatever a proxy in between made of it. */
  static async of(response) {
    const { status } = response;
    const requestId = response.headers.get('x-request-id');
    const retryAfter = Number(response.headers.get('retry-after')) || null;
    const body = await response.json().catch(() => ({}));
    const code = body.code ?? (status === 401 ? 'UNAUTHORIZED' : 'UNEXPECTED');
    const detail = body.detail ?? `HTTP ${status} ${response.statusText}`.trim();
    return new Problem({ status, code, title: body.title, detail, type: body.type, retryAfter, requestId: body.request_id ?? requestId });
  }
}

/** Fills the panel. `actions` are [key of the text, what to do]. */
export function show(panel, problem, { isHeic = false, actions = [] } = {}) {
  const [title, advice] = words(problem.code) ?? [problem.title ?? t('problem.detail'), ''];
  const facts = [];
  if (problem.detail) facts.push(element('dt', {}, t('problem.detail')), element('dd', { lang: 'en' }, problem.detail));
  if (problem.requestId) {
    facts.push(element('dt', {}, t('problem.id')), element('dd', {}, element('code', {}, problem.requestId)));
  }
  const buttons = actions.map(([key, act]) => {
    const button = element('button', { type: 'button', className: 'button' }, t(key));
    button.addEventListener('click', act);
    return button;
  });
  // A path of this server, or nothing: a problem of something in between may point anywhere.
  const explained = /^\/problems\/[\w-]+$/.test(problem.type ?? '')
    ? [element('a', { href: problem.type.slice(1), target: '_blank', rel: 'noopener' }, t('problem.explained'))]
    : [];
  panel.replaceChildren(
    element('h2', {}, title),
    element('p', {}, isHeic ? t('problem.heic') : advice),
    ...(facts.length ? [element('dl', {}, ...facts)] : []),
    element('div', { className: 'row' }, ...buttons, ...explained),
  );
  panel.hidden = false;
}
