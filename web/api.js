// The service, as the page asks it.

import * as key from './key.js';
import { Problem } from './problem.js';

/** Where a path of the service is; relative, so that the page also works behind a proxy that adds a prefix. */
export const address = (path) => new URL(path, document.baseURI);

export async function models() {
  return (await (await ask('v1/models')).json()).models;
}

export async function describe(model) {
  return (await ask(`v1/models/${encodeURIComponent(model)}`)).json();
}

/** The answer for a photo; `path` is made in request.js. */
export async function detect(path, photo, signal) {
  return (await send(path, photo, 'application/json', signal)).json();
}

/** The photo as the server sees it, upright, as JPEG: for what a browser cannot show. */
export async function upright(path, photo, signal) {
  return (await send(path, photo, 'image/jpeg', signal)).blob();
}

function send(path, photo, accept, signal) {
  const headers = { Accept: accept, 'Content-Type': mediaType(photo) };
  return ask(path, { method: 'POST', body: photo, headers, signal });
}

/** What a photo is sent as. The server knows photos by their bytes; any other type would only be in the way. */
export const mediaType = (photo) => (photo.type.startsWith('image/') ? photo.type : 'application/octet-stream');

async function ask(path, options = {}) {
  const headers = { Accept: 'application/json', ...options.headers };
  if (key.current()) headers.Authorization = `Bearer ${key.current()}`;
  let response;
  try {
    response = await fetch(address(path), { ...options, headers, cache: 'no-store', redirect: 'error' });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw Problem.own('UNREACHABLE');
  }
  if (!response.ok) throw await Problem.of(response);
  return response;
}
