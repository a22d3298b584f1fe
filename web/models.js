// Which model and which version are asked.

import * as api from './api.js';
import { element } from './element.js';
import { t } from './language.js';

/** Longest side of a webcam's frame where the model does not say what it looks at. */
const USUAL_SIDE = 640;

export class Models {
  #model;
  #version;
  #names = [];
  #description = null;

  /** `onChange` is called when a person chooses. */
  constructor(model, version, onChange) {
    this.#model = model;
    this.#version = version;
    model.addEventListener('change', async () => {
      await this.#describe().catch(() => {}); // the photo's own request says what is wrong
      onChange();
    });
    version.addEventListener('change', onChange);
  }

  /** Asks the server what there is. */
  async load() {
    this.#names = await api.models();
    const options = this.#names.map(({ name, default: isDefault }) => new Option(name, name, isDefault, isDefault));
    this.#model.replaceChildren(...options);
    this.#model.disabled = false;
    await this.#describe();
  }

  /** The choice, as request.js takes it: nothing where it is the default. */
  get choice() {
    const isDefault = this.#names.find(({ name }) => name === this.#model.value)?.default ?? true;
    return { model: isDefault ? undefined : this.#model.value, version: this.#version.value || undefined };
  }

  /** Sides beyond which the model sees nothing more. */
  get usefulSize() {
    const { width, height, max_side } = this.#description?.latest?.input ?? {};
    const side = max_side ?? USUAL_SIDE;
    return { width: width ?? side, height: height ?? side };
  }

  /** The versions in the current language. */
  translate() {
    // What is asked where none is chosen: the latest, or the one of a label that the server is configured with.
    const version = this.#description?.latest?.version;
    const first = new Option(version ? t('version.default_is', { version }) : t('version.default'), '');
    const versions = (this.#description?.versions ?? []).map(({ version, state }) => {
      const isThere = state === 'AVAILABLE';
      return element('option', { value: version, disabled: !isThere }, isThere ? version : `${version} (${state})`);
    });
    const before = this.#version.value;
    this.#version.replaceChildren(first, ...versions);
    this.#version.value = versions.some(({ value }) => value === before) ? before : '';
    this.#version.disabled = false;
  }

  async #describe() {
    this.#description = null;
    try {
      this.#description = await api.describe(this.#model.value);
    } finally {
      this.translate();
    }
  }
}
