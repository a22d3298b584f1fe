// The API key, where the server asks for one: in the storage of this tab, which ends with it.

const NAME = 'spotter-key';
let key = read();

export const current = () => key;

export function use(value) {
  key = value || null;
  try {
    if (key) sessionStorage.setItem(NAME, key);
    else sessionStorage.removeItem(NAME);
  } catch {
    // Storage may be forbidden; then the key holds until the page is reloaded.
  }
}

function read() {
  try {
    return sessionStorage.getItem(NAME);
  } catch {
    return null;
  }
}
