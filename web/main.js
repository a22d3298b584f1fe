// The page: what a person does, and what follows from it.

import { Filter, json } from './answer.js';
import * as api from './api.js';
import * as color from './color.js';
import { element } from './element.js';
import { FoundList } from './found.js';
import * as key from './key.js';
import { choose, language, number, percent, plural, t, translate, words } from './language.js';
import { Models } from './models.js';
import { Photo } from './photo.js';
import { annotated, save } from './picture.js';
import { Problem, show as showProblem } from './problem.js';
import * as request from './request.js';
import { Stage } from './stage.js';
import { LANGUAGES } from './strings.js';
import { Webcam } from './webcam.js';

const $ = (id) => document.getElementById(id);

/** The photo that is shown, or the webcam's last frame; null before the first. */
let photo = null;
/** The answer for it; null until it is there. */
let answer = null;
/** What the webcam's last answer is about. */
let lastFrame = null;
/** Ends the request under way. */
let running = null;
/** The problem that is shown, with its actions. */
let problem = null;

const filter = new Filter();
const stage = new Stage($('shown'));
const list = new FoundList($('found'), (index) => stage.highlight(index));
const models = new Models($('model'), $('version'), () => {
  if (photo && !webcam.isRunning) look(photo);
});
const webcam = new Webcam(stage.video);

// Photos

async function open(file, isOnDisk) {
  leaveWebcam();
  const signal = begin();
  try {
    const opened = await Photo.open(file, isOnDisk);
    // Large photos take a moment to open; the one that was given last wins.
    if (signal.aborted) opened.close();
    else await look(opened);
  } catch (error) {
    if (!signal.aborted) fail(error);
  }
}

/** Starts over with another photo. */
function begin() {
  running?.abort();
  running = new AbortController();
  dismiss();
  return running.signal;
}

async function look(next) {
  const signal = begin();
  if (photo !== next) {
    photo?.close();
    filter.hidden.clear();
  }
  photo = next;
  answer = null;
  list.reset();
  $('drop').hidden = photo.isShown;
  $('shown').hidden = !photo.isShown;
  if (photo.isShown) stage.showPhoto(photo);
  stage.clear();
  setBusy(true);
  render();
  try {
    const seen = await ask(photo.file, signal);
    if (!isShownAsSeen(photo, seen.image)) await showAsTheServerSees(photo, signal);
    answer = seen;
    announce(summary(filter.of(answer)));
  } catch (error) {
    if (signal.aborted) return;
    fail(error);
  }
  if (signal.aborted) return;
  setBusy(false);
  render();
}

const ask = (file, signal) => api.detect(request.path({ ...models.choice, minScore: request.LEAST_SCORE }), file, signal);

/**
 * Whether the boxes, which are in the server's frame, fit the picture that the browser shows. Every browser sets JPEG
 * upright; what it does with an orientation in other formats differs.
 */
function isShownAsSeen(shown, { width, height, format, orientation }) {
  const isUpright = orientation === 1 || format === 'jpeg';
  return shown.isShown && isUpright && shown.width === width && shown.height === height;
}

async function showAsTheServerSees(shown, signal) {
  // A least score of 1 leaves the picture without boxes.
  const path = request.path({ ...models.choice, minScore: 1, maxDetections: 1 });
  await shown.showAs(await api.upright(path, shown.file, signal));
  if (signal.aborted) return;
  shown.note = 'photo.of_server';
  stage.showPhoto(shown);
  $('drop').hidden = true;
  $('shown').hidden = false;
}

/** Makes another photo of the current one in the browser, and looks at that. */
async function lookAt(made) {
  const before = photo;
  const next = await made.catch(() => null);
  if (photo !== before) next?.close();
  else if (next) await look(next);
  else fail(Problem.own('NO_SHRINKING'));
}

// Problems

function fail(error) {
  if (!(error instanceof Problem)) console.error(error);
  const found = error instanceof Problem ? error : new Problem({ code: 'UNEXPECTED', detail: String(error) });
  setBusy(false);
  if (found.status === 401) return askForKey();
  const actions = [];
  const isTooLarge = found.code === 'PAYLOAD_TOO_LARGE' || found.code === 'IMAGE_TOO_LARGE';
  if (isTooLarge && photo?.isShown) actions.push(['problem.shrink', () => lookAt(photo.shrunk())]);
  const mayPass = found.code === 'UNREACHABLE' || found.status >= 500 || found.status === 408;
  if (mayPass) actions.push(['problem.retry', retry]);
  actions.push(['problem.close', dismiss]);
  const isHeic = found.code === 'UNSUPPORTED_IMAGE_FORMAT' && Boolean(photo?.isHeic);
  problem = { found, isHeic, actions };
  showProblem($('problem'), found, problem);
  announce('');
}

function dismiss() {
  problem = null;
  // The keyboard goes on at the photo: the button that was pressed is gone.
  if ($('problem').contains(document.activeElement)) $('stage').focus();
  $('problem').hidden = true;
}

async function retry() {
  dismiss();
  if (!$('model').options.length) await load();
  if (photo && !problem) await look(photo);
}

// The key

function askForKey() {
  // Several requests may come back refused: the first of them knows whether a key was sent.
  if ($('key').hidden) $('key-refused').textContent = key.current() ? t('key.refused') : '';
  $('key').hidden = false;
  // One that is no key any more is not kept, nor sent again.
  key.use(null);
  $('key-value').select();
  $('key-value').focus();
  render();
}

$('key').addEventListener('submit', (event) => {
  event.preventDefault();
  key.use($('key-value').value.trim());
  $('key-value').value = '';
  $('key').hidden = true;
  $('pick').focus();
  retry();
});

$('forget-key').addEventListener('click', () => {
  key.use(null);
  render();
  $('pick').focus();
});

// The webcam

async function enterWebcam(deviceId) {
  begin();
  setBusy(false);
  announce(t('webcam.starting'));
  lastFrame = null;
  try {
    await webcam.start(deviceId);
    photo?.close();
    [photo, answer] = [null, null];
    filter.hidden.clear();
    list.reset();
    stage.clear();
    stage.showVideo();
    $('drop').hidden = true;
    $('shown').hidden = false;
    $('rate').textContent = '';
    announce(t('webcam.live'));
    await listCameras();
    render();
    await webcam.run({ size: () => models.usefulSize, detect: ask, onAnswer: onFrame, onPause });
  } catch (error) {
    if (error.name === 'AbortError') return; // something else was chosen meanwhile
    leaveWebcam();
    fail(error);
  }
}

function onFrame(frame, seen, { rate, ms }) {
  lastFrame = frame;
  answer = seen;
  const values = { rate: rate ? number(rate, 1) : '–', ms: number(ms) };
  $('rate').textContent = t('webcam.rate', values);
  render();
}

function onPause(refusal, seconds) {
  const [why] = words(refusal.code) ?? [refusal.title ?? refusal.message];
  $('rate').textContent = t('webcam.waiting', { why, seconds: number(seconds) });
}

/** Stops the camera and keeps its last frame, with the boxes that were found in it. */
async function leaveWebcam() {
  if (!webcam.isRunning) return;
  webcam.stop();
  render();
  const frame = lastFrame;
  if (!frame) {
    $('shown').hidden = !photo;
    $('drop').hidden = Boolean(photo);
    return;
  }
  const kept = await Photo.open(frame);
  if (photo || webcam.isRunning) return kept.close();
  photo = kept;
  stage.showPhoto(photo);
  render();
}

async function listCameras() {
  const cameras = await webcam.cameras();
  const select = $('camera-choice');
  const current = webcam.deviceId;
  select.replaceChildren(
    ...cameras.map(({ deviceId, label }, index) => new Option(label || String(index + 1), deviceId, false, deviceId === current)),
  );
}

// What is seen

function render() {
  const shown = answer ? filter.of(answer) : [];
  if (answer) stage.draw(shown, answer.image);
  list.show(shown);
  renderCount(shown);
  renderClasses();
  renderScore();
  renderWords(shown);
  const live = webcam.isRunning;
  $('pick').textContent = photo || live ? t('pick.other') : t('pick');
  $('webcam').textContent = live ? t('webcam.stop') : t('webcam.start');
  $('pick').classList.toggle('primary', !live);
  $('webcam').classList.toggle('primary', live);
  $('live').hidden = !live;
  $('camera').hidden = !live || $('camera-choice').options.length < 2;
  $('download').hidden = !photo || !answer;
  $('example').hidden = Boolean(photo || live);
  $('forget-key').hidden = !key.current();
  $('paste-hint').textContent = t('drop.more', { keys: /Mac|iPhone|iPad/.test(navigator.platform) ? '⌘V' : 'Ctrl+V' });
  $('timing').textContent = answer
    ? t('timing', { model: answer.model.name, version: answer.model.version, ms: number(answer.timings_ms.total) })
    : '';
  $('note').textContent = photo?.note ? t(photo.note, { width: number(photo.width), height: number(photo.height) }) : '';
  if (photo) stage.describe(t('photo.alt', { name: photo.file.name, summary: answer ? summary(shown) : '' }).trim());
}

function renderCount(shown) {
  const all = answer?.detections.length ?? 0;
  $('count').textContent = !answer ? '' : shown.length === all ? plural('found.count', all) : t('found.of', { shown: shown.length, all });
  const empty = !answer ? t('found.none_yet') : all ? t('found.hidden', { count: all }) : t('found.nothing');
  $('found-none').textContent = shown.length ? '' : empty;
  $('found-none').hidden = shown.length > 0;
}

function renderClasses() {
  const labels = answer ? filter.labels(answer) : [];
  const group = $('classes');
  group.hidden = !labels.length;
  const chips = new Map([...group.children].map((chip) => [chip.dataset.name, chip]));
  const next = labels.map(([label, count]) => {
    const chip = chips.get(label) ?? newChip(label);
    chip.setAttribute('aria-pressed', !filter.hidden.has(label));
    chip.lastChild.textContent = number(count);
    return chip;
  });
  // Chips that stay are left in place, so that the keyboard's focus stays on them.
  if (next.length !== group.children.length || next.some((chip, index) => chip !== group.children[index])) group.replaceChildren(...next);
}

function newChip(label) {
  const { class_id } = answer.detections.find((found) => found.label === label);
  const swatch = element('span', { className: 'swatch' });
  swatch.style.background = color.css(class_id);
  const chip = element('button', { type: 'button', className: 'chip' }, swatch, `${label} `, element('span', { className: 'count' }));
  chip.dataset.name = label;
  chip.addEventListener('click', () => {
    if (!filter.hidden.delete(label)) filter.hidden.add(label);
    list.reset();
    render();
    chip.focus();
  });
  return chip;
}

function renderScore() {
  const slider = $('min-score');
  const value = percent(filter.minScore);
  $('min-score-value').textContent = value;
  slider.setAttribute('aria-valuetext', value);
  const [least, most] = [Number(slider.min), Number(slider.max)];
  const share = (score) => Math.min(Math.max((100 * score - least) / (most - least), 0), 1);
  slider.style.setProperty('--share', share(filter.minScore));
  const marks = (answer?.detections ?? []).map(({ score, class_id }) => {
    const mark = element('span');
    mark.style.setProperty('--share', share(score));
    mark.style.background = color.css(class_id);
    return mark;
  });
  $('marks').replaceChildren(...marks);
}

function renderWords(shown) {
  $('words').hidden = !answer;
  $('curl-key').hidden = !key.current();
  if (!answer) return;
  const asked = { ...models.choice, ...filter.options(answer) };
  $('curl-more').textContent = photo?.isOnDisk ? t('curl.more') : t('curl.more.made', { name: sent().name });
  $('curl-save').hidden = Boolean(photo?.isOnDisk);
  $('curl').textContent = request.curl(sent(), asked, Boolean(key.current()));
  $('json').textContent = json(answer, shown);
}

/** The file that the answer is about. */
const sent = () => photo?.file ?? lastFrame;

function summary(shown) {
  if (!shown.length) return t('found.summary.none');
  const names = shown.map(({ label, score }) => `${label} ${percent(score)}`);
  const joined = new Intl.ListFormat(language()).format(names);
  return t('found.summary', { count: plural('found.count', shown.length), list: joined });
}

function setBusy(isBusy) {
  $('busy').hidden = !isBusy;
  $('stage').setAttribute('aria-busy', isBusy);
  $('shown').classList.toggle('looking', isBusy);
  $('drop').classList.toggle('looking', isBusy);
}

/** For screen readers. */
function announce(text) {
  $('status').textContent = text;
}

// What a person does

for (const [button, input] of [['pick', 'pick-file'], ['capture', 'capture-file']]) {
  $(button).addEventListener('click', () => $(input).click());
  $(input).addEventListener('change', () => {
    const [file] = $(input).files;
    if (file) open(file, true);
    $(input).value = ''; // so that the same file can be chosen again
  });
}
$('drop').addEventListener('click', () => $('pick-file').click());

$('example').addEventListener('click', async () => {
  try {
    const response = await fetch(api.address('web/example.jpg'));
    if (!response.ok) throw await Problem.of(response);
    await open(new File([await response.blob()], 'example.jpg', { type: 'image/jpeg' }));
    $('pick').focus();
  } catch (error) {
    fail(error instanceof Problem ? error : Problem.own('UNREACHABLE'));
  }
});

$('webcam').addEventListener('click', () => (webcam.isRunning ? leaveWebcam() : enterWebcam()));
$('camera-choice').addEventListener('change', (event) => enterWebcam(event.target.value));

$('download').addEventListener('click', async () => {
  const name = photo.file.name.replace(/\.\w+$/, '') + '-spotted.jpg';
  try {
    save(await annotated(photo, filter.of(answer), answer.image), name);
  } catch (error) {
    fail(error);
  }
});

$('curl-save').addEventListener('click', () => save(sent(), sent().name));

let slid = null;
$('min-score').addEventListener('input', (event) => {
  filter.minScore = Number(event.target.value) / 100;
  list.reset();
  render();
  if (!answer || webcam.isRunning) return;
  // Once the slider rests: a screen reader would read out every step.
  clearTimeout(slid);
  slid = setTimeout(() => answer && announce(summary(filter.of(answer))), 600);
});

// A box that is pointed at shows its line, and the other way round.
$('shown').addEventListener('pointermove', (event) => {
  const index = smallestAt(event.clientX, event.clientY);
  list.point(index);
  if (index === null) list.release();
  else stage.highlight(index);
});
$('shown').addEventListener('pointerleave', () => {
  list.point(null);
  list.release();
});

/** Index of the smallest box under the pointer: a large one must not hide those inside it. */
function smallestAt(x, y) {
  let best = null;
  for (const box of $('shown').querySelectorAll('.box')) {
    const { left, top, right, bottom, width, height } = box.getBoundingClientRect();
    const isInside = x >= left && x < right && y >= top && y < bottom;
    if (isInside && (!best || width * height < best.area)) best = { index: Number(box.dataset.index), area: width * height };
  }
  return best?.index ?? null;
}

addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && problem) dismiss();
});

let depth = 0;
const isFile = (event) => [...(event.dataTransfer?.types ?? [])].includes('Files');
addEventListener('dragenter', (event) => {
  if (isFile(event)) $('dropping').hidden = ++depth === 0;
});
addEventListener('dragleave', (event) => {
  if (isFile(event)) $('dropping').hidden = --depth <= 0;
});
addEventListener('dragover', (event) => event.preventDefault());
addEventListener('drop', (event) => {
  event.preventDefault();
  depth = 0;
  $('dropping').hidden = true;
  const [file] = event.dataTransfer.files;
  if (file) open(file, true);
  else fail(Problem.own('NOT_A_FILE'));
});
addEventListener('paste', (event) => {
  const [file] = event.clipboardData.files;
  if (!file) return;
  event.preventDefault();
  open(file);
});

for (const button of document.querySelectorAll('[data-copy]')) {
  button.addEventListener('click', async () => {
    let said = 'copied';
    try {
      await navigator.clipboard.writeText($(button.dataset.copy).textContent);
    } catch {
      said = 'not_copied'; // the clipboard, too, is given to secure pages only
    }
    button.textContent = t(said);
    announce(t(said));
    setTimeout(() => (button.textContent = t('copy')), 2000);
  });
}

// Languages

for (const [tag, name] of Object.entries(LANGUAGES)) {
  const button = element('button', { type: 'button', lang: tag }, name);
  button.addEventListener('click', () => {
    choose(tag);
    speak();
  });
  $('languages').append(button);
}

/** Writes everything in the current language. */
function speak() {
  translate();
  for (const button of $('languages').children) button.setAttribute('aria-pressed', button.lang === language());
  models.translate();
  if (problem) showProblem($('problem'), problem.found, problem);
  if (!$('key').hidden && $('key-refused').textContent) $('key-refused').textContent = t('key.refused');
  render();
}

async function load() {
  try {
    await models.load();
  } catch (error) {
    // Where the model cannot be asked now, the first photo says so; the page is of use without its versions.
    if (error.status === 401 || !$('model').options.length) fail(error);
  }
}

speak();
load();
