/**
 * <session-attachments>: a form's files, uploaded while the visitor still types.
 *
 * One file, on purpose. Storages that put a hash into file names do not rewrite the
 * imports of modules: parts would come from two releases, or be missing. The styles are
 * in here for the same reason, as a constructed sheet, which `style-src 'self'` allows.
 *
 * From top to bottom: words and numbers, limits, names, answers, the queue, the
 * transport, then the DOM: announcements, the gate before a form, the styles, the
 * element. All above the DOM is plain functions and classes that run without a browser.
 */

// ============================================================== words and numbers

/** What the element says where its `texts` attribute says nothing else. */
export const TEXTS = {
  add: "Add files",
  addOne: "Choose a file",
  addFolder: "Add a folder",
  drop: "or drop them here, or paste an image",
  dropOne: "or drop it here, or paste an image",
  maxFiles: "Up to {limit} files",
  maxSize: "Up to {limit} each",
  maxSizeOne: "Up to {limit}",
  images: "images",
  audio: "audio",
  videos: "videos",
  text: "text",
  files: "Attached files",
  progress: "Upload of {name}",
  waiting: "Waiting",
  offline: "Waiting for the connection",
  saving: "Saving…",
  retrying: "Trying again in {time}",
  stored: "Uploaded",
  removing: "Removing…",
  cancel: "Cancel {name}",
  remove: "Remove {name}",
  retry: "Retry {name}",
  dismiss: "Dismiss {name}",
  started: "{name} is being uploaded",
  finished: "{name} has been uploaded",
  replaced: "{name} has been replaced",
  failed: "{name}: {reason}",
  removed: "{name} has been removed",
  cancelled: "{name} has been cancelled",
  startedMany: "Files being uploaded: {count}",
  finishedMany: "Files uploaded: {count}",
  failedMany: "Files that could not be uploaded: {count}",
  tooLarge: "The file is larger than {limit}.",
  tooMany: "There can be {limit} files at most.",
  onlyOne: "There can be only one file.",
  wrongType: "Files of this type are not accepted. Accepted: {types}.",
  badName: "The file has no usable name.",
  unreadable: "The file cannot be read. Has it been moved or changed?",
  connection: "The server cannot be reached.",
  refused: "The server refused the file ({status}).",
  tooLargeForServer: "The file is too large for the server.",
  lost: "The file is no longer on the server.",
  notRemoved: "The file could not be removed.",
  required: "This field is required.",
  noList: "Your files cannot be listed.",
  submitting: "The form is sent as soon as all files are uploaded.",
  hold: "Do not send yet",
  undecided: "Not sent yet: not all files are uploaded.",
  changed: "Not sent yet: the files have changed. Check them, then send again.",
  tryAgain: "Try again",
  goOn: "Go on without them",
};

/** The text with its `{placeholders}` filled in. */
export function fill(text, values = {}) {
  return text.replace(/\{(\w+)\}/g, (whole, key) =>
    key in values ? String(values[key]) : whole,
  );
}

const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];

/** Bytes for people, in steps of 1024 as Django's `filesizeformat`. */
export function formatSize(bytes, locale) {
  let [value, unit] = [bytes, 0];
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return numberFormat(locale, {
    style: "unit",
    unit: UNITS[unit],
    unitDisplay: unit ? "short" : "long",
    maximumFractionDigits: 1,
  }).format(value);
}

/** A share from 0 to 1 in percent, rounded down: 100 % is when all is sent. */
export function formatPercent(share, locale) {
  return numberFormat(locale, { style: "percent" }).format(
    Math.floor(share * 100) / 100,
  );
}

/** A time to wait, in milliseconds: seconds up to two minutes, then minutes. */
export function formatTime(milliseconds, locale) {
  const seconds = Math.max(1, Math.ceil(milliseconds / 1000));
  const [value, unit] =
    seconds < 120 ? [seconds, "second"] : [Math.ceil(seconds / 60), "minute"];
  const options = { style: "unit", unit, unitDisplay: "short" };
  return numberFormat(locale, options).format(value);
}

function numberFormat(locale, options) {
  try {
    return new Intl.NumberFormat(locale || undefined, options);
  } catch {
    return new Intl.NumberFormat(undefined, options); // no such language
  }
}

// ========================================================================= limits

/** What a field allows. `accept` is a list as in HTML: `image/*, application/pdf, .csv`. */
export class Limits {
  constructor({ maxFiles = Infinity, maxSize = Infinity, accept = "" } = {}) {
    Object.assign(this, { maxFiles, maxSize, accept });
  }

  /** Why the file is refused, as a problem, or null. `others`: the files there are. */
  refuse(file, others = 0) {
    if (others >= this.maxFiles) {
      const code = this.maxFiles === 1 ? "onlyOne" : "tooMany";
      return { code, values: { limit: this.maxFiles } };
    }
    if (file.size > this.maxSize) return { code: "tooLarge", bytes: this.maxSize };
    if (!accepts(this.accept, file)) return { code: "wrongType", accept: this.accept };
    return null;
  }
}

// Types by their other names, as some systems call them.
const ALIASES = {
  "application/x-zip-compressed": ["application/zip"],
  "application/x-gzip": ["application/gzip"],
  "application/x-pdf": ["application/pdf"],
  "application/xml": ["text/xml"],
  "text/xml": ["application/xml"],
  "image/jpg": ["image/jpeg"],
  "image/pjpeg": ["image/jpeg"],
  "audio/mp3": ["audio/mpeg"],
  "audio/wav": ["audio/x-wav"],
  "audio/x-m4a": ["audio/mp4"],
  "application/vnd.rar": ["application/x-rar"],
  "application/x-rar-compressed": ["application/x-rar"],
  "application/rtf": ["text/rtf"],
  "application/msword": ["text/rtf"], // where Word is installed
  "video/mp2t": ["text/plain"], // or TypeScript: both end in .ts
};

// Of these, one is taken for another, or for plain text, by who looks into the file.
const TEXTUAL =
  /^(text\/|message\/|application\/.*(json|xml|yaml|toml|csv|tex|script|sql|-sh|php|perl|python|ruby)\b)/;

// And of these for a plain zip.
const ZIPPED =
  /^application\/(vnd\.(openxmlformats-officedocument|oasis\.opendocument)\.|vnd\.ms-.*macroenabled|java-archive|.*\+zip)/;

/**
 * Whether a file may be of an accepted type, as far as a browser can tell.
 *
 * The server looks into the file; a browser knows its name, and guesses. So a file is
 * refused only where that guess leaves no doubt.
 */
export function accepts(accept, { name, type }) {
  const patterns = listed(accept);
  if (!patterns.length) return true;
  const kind = (type || "").toLowerCase();
  const kinds = [kind, ...(ALIASES[kind] ?? [])];
  if (/\.csv$/i.test(name)) kinds.push("text/csv"); // Excel's, they say
  if (kinds.some((each) => ZIPPED.test(each))) kinds.push("application/zip");
  const isTextual = kinds.some((each) => TEXTUAL.test(each));
  const isUnknown = kind === "" || kind === "application/octet-stream";
  return patterns.some((pattern) => {
    if (pattern.startsWith(".")) return name.toLowerCase().endsWith(pattern);
    if (isUnknown || (isTextual && TEXTUAL.test(pattern))) return true;
    return kinds.some((each) => matches(each, pattern));
  });
}

function listed(accept) {
  return accept
    .toLowerCase()
    .split(",")
    .map((pattern) => pattern.trim())
    .filter(Boolean);
}

function matches(kind, pattern) {
  const parts = pattern.split("*").map((part) => part.replace(/[^\w]/g, "\\$&"));
  return new RegExp(`^${parts.join(".*")}$`).test(kind);
}

// What people call types whose own name says nothing to them.
const KINDS = {
  "application/msword": "DOC",
  "application/vnd.ms-excel": "XLS",
  "application/vnd.ms-powerpoint": "PPT",
  "application/vnd.oasis.opendocument.presentation": "ODP",
  "application/vnd.oasis.opendocument.spreadsheet": "ODS",
  "application/vnd.oasis.opendocument.text": "ODT",
  "application/vnd.openxmlformats-officedocument.presentationml.presentation": "PPTX",
  "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "XLSX",
  "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "DOCX",
  "audio/mpeg": "MP3",
  "image/svg+xml": "SVG",
  "text/plain": "TXT",
};

/** The accepted types for people: `PDF, images`. */
export function describeTypes(accept, texts = TEXTS) {
  const groups = {
    "image/*": texts.images,
    "audio/*": texts.audio,
    "video/*": texts.videos,
    "text/*": texts.text,
  };
  const name = (pattern) =>
    groups[pattern] ??
    KINDS[pattern] ??
    (pattern.startsWith(".")
      ? pattern.slice(1).toUpperCase()
      : pattern.includes("*")
        ? pattern
        : pattern.replace(/^.*\/(x-|vnd\.)?/, "").toUpperCase());
  return [...new Set(listed(accept).map(name))].join(", ");
}

// ========================================================================== names

/**
 * The name as the server will keep it, or "" where it cannot be one.
 *
 * Unprintable is what Python's `str.isprintable` says: the only space is U+0020.
 */
export function cleanName(name) {
  const cleaned = name
    .split(/[/\\]/)
    .pop()
    .replace(/(?! )[\p{C}\p{Z}]/gu, "")
    .normalize("NFC")
    .trim();
  return [".", ".."].includes(cleaned) ? "" : cleaned;
}

/** The name, or the first of `name (2).txt`, `name (3).txt`, … that is not taken. */
export function uniqueName(name, isTaken) {
  const [, stem, extension] = /^(.+?)((?:\.tar)?\.[^.]+)?$/s.exec(name) ?? [, name];
  let unique = name;
  for (let number = 2; isTaken(unique); number += 1) {
    unique = `${stem} (${number})${extension ?? ""}`;
  }
  return unique;
}

/** The letters on a file's sheet: its extension, where it has a short one. */
export function badge(name) {
  return /[^.]\.([a-z0-9]{1,4})$/i.exec(name)?.[1].toUpperCase() ?? "";
}

// ======================================================================== answers

/** The bytes may be on the server, or not: the connection was lost. */
export class ConnectionLost extends Error {}

/** The browser cannot read the file that it was given. */
export class Unreadable extends Error {}

const AGAIN = [408, 425, 429, 502, 503, 504];

// What the file itself is refused for, whenever it comes. A full session can be helped.
const FINAL = [400, 405, 411, 415, 422];
const TOO_LARGE = ["too_large", "tooLargeForServer"];

/**
 * What an answer to an upload means: `{ item }`, or `{ problem, again, after }`.
 *
 * `again` says that it may pass the next time, `after` when the server wants it, in
 * milliseconds. A problem has a `code`, and a `detail` where the server gave its reason
 * (RFC 9457).
 */
export function judge({ status, body, retryAfter }, now = Date.now()) {
  if (status >= 200 && status < 300 && typeof body?.name === "string") {
    return { item: body };
  }
  const again = AGAIN.includes(status);
  const after = again ? parseRetryAfter(retryAfter, now) : null;
  return { problem: problemOf(status, body), again, after };
}

/** The problem in an answer. */
export function problemOf(status, body) {
  const said = typeof body?.detail === "string" ? body.detail : "";
  const code = typeof body?.code === "string" ? body.code : "";
  if (said) return { code: code || "refused", detail: said, status };
  if (status === 413) return { code: "tooLargeForServer", status };
  return { code: "refused", status, values: { status } };
}

const HOUR = 3_600_000;

/** The header's seconds or date as milliseconds from now; null without one. */
export function parseRetryAfter(value, now = Date.now()) {
  if (!value) return null;
  const wait = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now;
  return Number.isNaN(wait) ? null : Math.min(Math.max(wait, 0), HOUR);
}

/** How long to wait after so many failures in a row, in milliseconds. */
export function backoff(failures, random = Math.random) {
  const most = Math.min(1000 * 2 ** (failures - 1), 60_000);
  return most * (0.5 + random() / 2);
}

// ====================================================================== the queue

/**
 * One file on its way.
 *
 * waiting → sending → saving → stored, failed or cancelled; and back to `retrying`, or
 * `offline`, when the connection was lost. "saving": all bytes are out, and the server
 * has not yet said that they are stored.
 */
export class Upload {
  state = "waiting";
  sent = 0;
  attempts = 0;
  item = null;
  problem = null;

  constructor(name, file) {
    Object.assign(this, { name, file, size: file.size });
  }

  get running() {
    return !["stored", "failed", "cancelled"].includes(this.state);
  }

  /** How much of the file is sent, from 0 to 1. */
  get share() {
    return this.size ? Math.min(this.sent / this.size, 1) : Number(this.state === "saving");
  }
}

/**
 * What the queues of a visitor go through, one after the other, until one has made the
 * session. Two first uploads at a time would make two, and one file would be lost.
 *
 * With the browser's locks this holds for all tabs: the cookie comes with the first
 * upload's answer, which may be minutes away.
 */
export class Door {
  #locks;
  #line = new Map(); // the queues that wait → what lets them go on
  #inside = null;
  #unlock = null;
  #isOpen = false;

  constructor(locks = null) {
    this.#locks = locks;
  }

  /** Whether the server knows the visitor by a session. */
  get isOpen() {
    return this.#isOpen;
  }

  /** Whether the queue may go through; if not now, `go` is called when it may. */
  enter(queue, go) {
    const isInside = () => this.#isOpen || (this.#inside === queue && !!this.#unlock);
    if (isInside()) return true;
    let isNow = true;
    this.#line.set(queue, () => isNow || go());
    if (!this.#inside) this.#next();
    isNow = false;
    return isInside();
  }

  /** The queue does not need it any more, or was refused. */
  leave(queue) {
    this.#line.delete(queue);
    if (this.#inside === queue && this.#unlock) this.#free();
  }

  /** There is a session: all may go. */
  open() {
    if (this.#isOpen) return;
    this.#isOpen = true;
    const line = [...this.#line.values()];
    this.#line.clear();
    this.#free();
    for (const go of line) go();
  }

  /** The session has ended. */
  close() {
    this.#isOpen = false;
  }

  #free() {
    this.#unlock?.();
    this.#inside = this.#unlock = null;
    this.#next();
  }

  #next() {
    const [first] = this.#line.keys();
    if (!first) return;
    this.#inside = first;
    if (!this.#locks) {
      this.#let(() => {});
      return;
    }
    const locked = () => new Promise((unlock) => this.#let(unlock));
    this.#locks.request("session-attachments", locked).catch(() => this.#let(() => {}));
  }

  /** The first in line has the lock. */
  #let(unlock) {
    const queue = this.#inside;
    const go = this.#line.get(queue);
    this.#unlock = unlock;
    if (go) {
      this.#line.delete(queue);
      go();
    } else {
      this.#free(); // it has left the line meanwhile
    }
  }
}

/**
 * Sends uploads: the first of a visitor alone, because it makes the session, then
 * several at a time, and again after the connection was lost.
 *
 * `send(upload, { progress, sent })` starts a request and returns `{ done, abort }`;
 * `done` promises an answer for `judge`, or rejects. `changed(upload)` is called at each
 * step. Nothing is sent before `open()`.
 */
export class Queue {
  #send;
  #changed;
  #clock;
  #online;
  #random;
  #parallel;
  #attempts;
  #waiting = [];
  #requests = new Map(); // the uploads that are being sent → their requests
  #failures = 0; // of the connection, in a row
  #timer = null;
  #isOpen = false;
  #door;

  /** When sending goes on after a lost connection, or null. */
  resumes = null;

  constructor({
    send,
    changed,
    door = new Door(),
    parallel = 3,
    attempts = 8,
    online = () => true,
    random = Math.random,
    clock = {
      now: () => Date.now(),
      start: (call, wait) => setTimeout(call, wait),
      stop: (timer) => clearTimeout(timer),
    },
  }) {
    this.#send = send;
    this.#changed = changed;
    this.#door = door;
    this.#parallel = parallel;
    this.#attempts = attempts;
    this.#online = online;
    this.#random = random;
    this.#clock = clock;
  }

  /** How many uploads are not finished. */
  get size() {
    return this.#waiting.length + this.#requests.size;
  }

  /** Begin to send. */
  open() {
    this.#isOpen = true;
    this.#advance();
  }

  add(upload) {
    this.#waiting.push(upload);
    this.#move(upload, "waiting");
    this.#advance();
  }

  /** Give an upload up. The server may have stored it all the same. */
  cancel(upload) {
    if (!upload.running) return;
    this.#waiting = this.#waiting.filter((other) => other !== upload);
    const request = this.#requests.get(upload);
    this.#requests.delete(upload);
    request?.abort();
    if (request || !this.#waiting.length) this.#door.leave(this);
    this.#move(upload, "cancelled");
    if (!this.size) this.#unpause();
    this.#advance();
  }

  /** Go on at once: the connection is back, or the visitor says so. */
  wake() {
    this.#unpause();
    this.#advance();
  }

  /** Stop everything. */
  close() {
    this.#isOpen = false;
    this.#unpause();
    for (const upload of [...this.#waiting, ...this.#requests.keys()]) this.cancel(upload);
    this.#door.leave(this);
  }

  #move(upload, state) {
    upload.state = state;
    this.#changed(upload);
  }

  #advance() {
    if (!this.#isOpen || this.#timer !== null) return;
    // After a failure one goes ahead, to see whether the connection is back.
    const room = this.#door.isOpen && !this.#failures ? this.#parallel : 1;
    while (this.#waiting.length && this.#requests.size < room) {
      if (!this.#door.enter(this, () => this.#advance())) return;
      this.#start(this.#waiting.shift());
    }
  }

  #start(upload) {
    Object.assign(upload, { sent: 0, problem: null, attempts: upload.attempts + 1 });
    const isCurrent = () => this.#requests.get(upload) === request;
    const request = this.#send(upload, {
      progress: (sent) => {
        if (!isCurrent() || upload.state !== "sending") return;
        upload.sent = Math.min(sent, upload.size);
        this.#move(upload, "sending");
      },
      sent: () => {
        if (!isCurrent() || upload.state !== "sending") return;
        upload.sent = upload.size;
        this.#move(upload, "saving");
      },
    });
    this.#requests.set(upload, request);
    this.#move(upload, "sending");
    request.done.then(
      (answer) => isCurrent() && this.#finish(upload, judge(answer, this.#clock.now())),
      (error) => isCurrent() && this.#finish(upload, this.#excuse(error)),
    );
  }

  #excuse(error) {
    if (error instanceof Unreadable) return { problem: { code: "unreadable" } };
    return { problem: { code: "connection" }, again: true, after: null };
  }

  #finish(upload, { item, problem, again, after }) {
    this.#requests.delete(upload);
    if (item) this.#door.open();
    else this.#door.leave(this);
    if (again && upload.attempts < this.#attempts) {
      this.#again(upload, problem, after);
      return;
    }
    if (!again) this.#failures = 0; // the server has answered
    if (item) {
      upload.item = item;
      this.#move(upload, "stored");
    } else {
      upload.problem = problem;
      this.#move(upload, "failed");
    }
    if (!this.#failures) this.#unpause();
    this.#advance();
  }

  #again(upload, problem, after) {
    const isOffline = problem.code === "connection" && !this.#online();
    if (isOffline) upload.attempts -= 1;
    this.#failures += 1;
    upload.problem = problem;
    // At the end: a file that breaks the connection must not hold up the others.
    this.#waiting.push(upload);
    this.#pause(isOffline ? 30_000 : (after ?? backoff(this.#failures, this.#random)));
    this.#move(upload, isOffline ? "offline" : "retrying");
  }

  #pause(wait) {
    const resumes = this.#clock.now() + wait;
    if (this.#timer !== null) {
      if (this.resumes >= resumes) return;
      this.#clock.stop(this.#timer);
    }
    this.resumes = resumes;
    this.#timer = this.#clock.start(() => this.wake(), wait);
  }

  #unpause() {
    if (this.#timer !== null) this.#clock.stop(this.#timer);
    this.#timer = this.resumes = null;
  }
}

// ================================================================== the transport

// So long without a byte going out: the connection is dead, though nobody said so.
const STALLED = 120_000;

/**
 * PUT the file's bytes to the URL; returns `{ done, abort }` for a `Queue`.
 *
 * By XMLHttpRequest, because fetch() does not say how much of a body is sent.
 */
export function put(url, file, { headers = {}, progress, sent, stalled = STALLED }) {
  const request = new XMLHttpRequest();
  const done = new Promise((resolve, reject) => {
    let timer = null;
    const lost = () => reject(new ConnectionLost());
    const watch = () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        lost();
        request.abort();
      }, stalled);
    };
    request.upload.addEventListener("progress", (event) => {
      watch();
      progress(event.loaded);
    });
    request.upload.addEventListener("load", () => {
      clearTimeout(timer); // now it is the server's turn, for as long as it takes
      sent();
    });
    request.addEventListener("load", () =>
      resolve({
        status: request.status,
        body: request.response,
        retryAfter: request.getResponseHeader("Retry-After"),
      }),
    );
    request.addEventListener("error", async () => {
      // The browser says the same when the file has been moved or changed.
      try {
        await file.slice(0, 1).arrayBuffer();
        lost();
      } catch {
        reject(new Unreadable());
      }
    });
    request.addEventListener("loadend", () => clearTimeout(timer));
    request.open("PUT", url);
    request.responseType = "json";
    for (const [name, value] of Object.entries(headers)) {
      request.setRequestHeader(name, value);
    }
    watch();
    request.send(file);
  });
  return { done, abort: () => request.abort() };
}

/** A cookie's value, or "". */
export function cookie(name, cookies = document.cookie) {
  const found = cookies.split("; ").find((each) => each.startsWith(`${name}=`));
  return found ? decodeURIComponent(found.slice(name.length + 1)) : "";
}

// ================================================================== announcements

/**
 * Tells a screen reader what happened, without telling it everything.
 *
 * What happens within a moment is told together: of many files their number, and of one
 * that started and finished only that it finished.
 */
export class Announcer {
  #say;
  #texts;
  #delay;
  #told = [];
  #timer = null;

  constructor({ say, texts = () => TEXTS, delay = 500 }) {
    this.#say = say;
    this.#texts = texts;
    this.#delay = delay;
  }

  tell(kind, name, reason = "") {
    this.#told.push({ kind, name, reason });
    this.#timer ??= setTimeout(() => this.flush(), this.#delay);
  }

  flush() {
    clearTimeout(this.#timer);
    this.#timer = null;
    const told = this.#told.splice(0);
    const over = new Set(told.filter((t) => t.kind !== "started").map((t) => t.name));
    const kinds = new Map();
    for (const each of told) {
      if (each.kind === "started" && over.has(each.name)) continue;
      kinds.set(each.kind, [...(kinds.get(each.kind) ?? []), each]);
    }
    const texts = this.#texts();
    for (const [kind, those] of kinds) {
      const many = texts[`${kind}Many`];
      if (those.length > 3 && many) this.#say(fill(many, { count: those.length }));
      else for (const each of those) this.#say(fill(texts[kind], each));
    }
  }
}

// ======================================================= the gate before the form

/**
 * Holds a form's submission back until the files of all its elements are settled.
 *
 * `ready()` of a member promises whether the form may go; `concerned()` says whether
 * there is anything to wait for or look at; `release()` ends the waiting, because
 * another member has said no.
 */
class Gate {
  static #gates = new WeakMap();

  #form;
  #members = new Set();
  #running = false;
  #isPassing = false;
  #submitter = null;

  /** Whether the form has been let through since the page was shown. */
  passed = false;

  /**
   * Whether it is on its way, as far as anybody can tell: an answer that is no page, such
   * as a download, is not seen from here. So it ends when the visitor goes on with files.
   */
  leaving = false;

  static of(form) {
    if (!Gate.#gates.has(form)) Gate.#gates.set(form, new Gate(form));
    return Gate.#gates.get(form);
  }

  constructor(form) {
    this.#form = form;
    // In the capturing phase, before the page's own listeners: they get the submission
    // that is let through.
    form.addEventListener("submit", (event) => this.#submitted(event), true);
  }

  join(member) {
    this.#members.add(member);
  }

  leave(member) {
    this.#members.delete(member);
  }

  /** Submit again, by the button that was pressed. */
  resume() {
    try {
      this.#form.requestSubmit(this.#submitter);
    } catch {
      this.#form.requestSubmit(); // the button is gone
    }
  }

  #submitted(event) {
    if (event.target !== this.#form || event.defaultPrevented) return;
    const concerned = [...this.#members].filter((member) => member.concerned());
    // Sent once more by an impatient click, there is nothing left to look at: its files
    // are used up. What becomes of it, the server says.
    if (this.#isPassing || this.leaving || !concerned.length) {
      this.passed = this.leaving = true;
      // Unless the page sends it by itself, which it says after us.
      setTimeout(() => {
        if (event.defaultPrevented) this.leaving = false;
      });
      return;
    }
    event.preventDefault();
    event.stopImmediatePropagation();
    this.#submitter = event.submitter;
    if (!this.#running) this.#wait(concerned);
  }

  async #wait(members) {
    this.#running = true;
    let isReady = false;
    try {
      const asked = members.map((member) => member.ready());
      const all = Promise.all(asked).then((ready) => ready.every(Boolean));
      // The first that says no is enough: now the visitor has the word.
      const no = new Promise((resolve) => {
        for (const each of asked) each.then((ready) => ready || resolve(false));
      });
      isReady = await Promise.race([all, no]);
    } finally {
      this.#running = false;
    }
    if (!isReady) {
      for (const member of members) member.release();
      return;
    }
    this.#isPassing = true;
    try {
      this.resume();
    } finally {
      this.#isPassing = false;
    }
  }
}

// ====================================================================== the styles

// Colours come from the page's own text colour, so that they fit any theme, dark ones
// too, whether or not it says `color-scheme`.
const STYLES = `
:host {
  --_accent: var(--attachments-accent, color-mix(in oklab, #0b66e4 72%, currentColor));
  --_error: var(--attachments-error, color-mix(in oklab, #e5342b 72%, currentColor));
  --_soft: var(--attachments-soft, color-mix(in oklab, currentColor 72%, transparent));
  --_line: var(--attachments-line, color-mix(in oklab, currentColor 22%, transparent));
  --_edge: var(--attachments-edge, color-mix(in oklab, currentColor 58%, transparent));
  --_wash: var(--attachments-wash, color-mix(in oklab, currentColor 5%, transparent));
  --_radius: var(--attachments-radius, 0.5rem);
  --_gap: var(--attachments-gap, 0.75rem);
  display: block;
  inline-size: 100%; /* as wide as there is room, among flexible items, too */
  min-inline-size: 0;
  font-size: 1rem;
  line-height: 1.4;
  text-align: start;
  text-transform: none;
  white-space: normal;
}
:host([hidden]), [hidden] { display: none !important; }
*, *::before, *::after { box-sizing: border-box; }
p, ul { margin: 0; padding: 0; }
button {
  display: inline-flex;
  align-items: center;
  justify-content: center;
  gap: 0.45em;
  min-block-size: 2.25rem;
  margin: 0;
  padding: 0.25rem 0.85rem;
  border: 1px solid var(--_edge);
  border-radius: var(--_radius);
  background: var(--attachments-button, transparent);
  color: inherit;
  font: inherit;
  font-weight: 550;
  text-align: start;
  cursor: pointer;
}
button:hover { background: var(--_wash); border-color: currentColor; }
button[aria-disabled="true"] { cursor: default; }
:focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; }
svg {
  flex: none;
  inline-size: 1.2em;
  block-size: 1.2em;
  fill: none;
  stroke: currentColor;
  stroke-width: 1.8;
  stroke-linecap: round;
  stroke-linejoin: round;
}
.zone {
  position: relative;
  display: grid;
  grid-template-columns: minmax(0, 1fr);
  gap: var(--_gap);
  padding: var(--_gap);
  border: 1px dashed var(--_edge);
  border-radius: calc(var(--_radius) + 0.2rem);
  background: var(--attachments-background, transparent);
}
.zone[data-invalid] { border-color: var(--_error); }
.zone[data-drop="near"] { border-color: var(--_accent); }
.zone[data-drop="over"] {
  border: 1px solid var(--_accent);
  outline: 2px solid var(--_accent);
  outline-offset: -2px;
  background: color-mix(in oklab, var(--_accent) 12%, transparent);
}
.zone[data-disabled] { border-style: solid; border-color: var(--_line); }
.bar { display: flex; flex-wrap: wrap; align-items: center; gap: 0.5rem 0.75rem; }
.quiet {
  padding-inline: 0.5rem;
  border-color: transparent;
  background: none;
  color: var(--_soft);
  font-weight: inherit;
  text-decoration: underline;
  text-decoration-color: var(--_edge);
  text-underline-offset: 0.2em;
}
.quiet:hover { border-color: transparent; background: var(--_wash); color: inherit; }
.hint, .limits { color: var(--_soft); font-size: 0.9em; }
.limits { margin-block-start: calc(var(--_gap) * -0.4); }
.list {
  display: grid;
  grid-template-columns: minmax(0, 1fr);
  list-style: none;
  border-block-start: 1px solid var(--_line);
}
.list:empty { display: none; }
.bar[hidden] ~ .list { border: 0; }
.bar[hidden] ~ .list > :first-child { padding-block-start: 0; }
.file {
  display: flex;
  align-items: center;
  gap: 0.15rem;
  min-block-size: 3.5rem;
  padding-block: 0.5rem;
  border-block-end: 1px solid var(--_line);
}
.list > :last-child { border-block-end: 0; padding-block-end: 0; }
.thumbnail {
  flex: none;
  display: grid;
  place-items: center;
  inline-size: 2.5rem;
  block-size: 2.5rem;
  margin-inline-end: 0.6rem;
  overflow: hidden;
  border-radius: calc(var(--_radius) * 0.75);
  background: color-mix(in oklab, currentColor 9%, transparent);
  color: var(--_soft);
  font-size: 0.7rem;
  font-weight: 700;
  letter-spacing: 0.02em;
}
.thumbnail img { inline-size: 100%; block-size: 100%; object-fit: cover; }
.thumbnail svg { inline-size: 1.25rem; block-size: 1.25rem; }
.text { flex: 1; min-inline-size: 0; display: grid; gap: 0.1rem; }
.name {
  justify-self: start;
  max-inline-size: 100%;
  overflow: hidden;
  display: -webkit-box;
  -webkit-box-orient: vertical;
  -webkit-line-clamp: 3;
  overflow-wrap: anywhere;
  color: inherit;
  font-weight: 550;
  text-decoration: none;
}
.name[href] { text-decoration: underline; text-decoration-color: var(--_edge); text-underline-offset: 0.2em; }
.name[href]:hover { text-decoration-color: currentColor; }
.name:focus-visible { outline-offset: -1px; border-radius: 2px; }
.line { display: flex; flex-wrap: wrap; align-items: center; gap: 0 0.6rem; min-block-size: 1.4em; font-size: 0.9em; }
.status { color: var(--_soft); font-variant-numeric: tabular-nums; }
.error { color: var(--_error); overflow-wrap: anywhere; }
.file[data-state="failed"] .thumbnail { background: color-mix(in oklab, var(--_error) 14%, transparent); color: var(--_error); }
progress {
  flex: 1 1 6rem;
  max-inline-size: 22rem;
  block-size: 0.4rem;
  border: 0;
  border-radius: 1rem;
  overflow: hidden;
  appearance: none;
  background: var(--_line);
  color: var(--_accent);
}
progress::-webkit-progress-bar { background: none; }
progress::-webkit-progress-value { border-radius: 1rem; background: var(--_accent); transition: inline-size 0.15s linear; }
progress::-moz-progress-bar { border-radius: 1rem; background: var(--_accent); }
progress:indeterminate {
  background: linear-gradient(90deg, var(--_line) 25%, var(--_accent) 50%, var(--_line) 75%) 0 / 200% 100%;
  animation: slide 1.4s linear infinite;
}
progress:indeterminate::-moz-progress-bar { background: none; }
@keyframes slide { from { background-position: 200% 0; } }
.act {
  flex: none;
  inline-size: 2.25rem;
  padding: 0;
  border-color: transparent;
  background: none;
  color: var(--_soft);
}
.act:hover { border-color: transparent; background: var(--_wash); color: inherit; }
.notice {
  display: flex;
  flex-wrap: wrap;
  align-items: center;
  gap: 0.5rem 0.75rem;
  padding: 0.6rem 0.75rem;
  border-inline-start: 3px solid var(--_accent);
  border-radius: calc(var(--_radius) * 0.5);
  background: var(--_wash);
}
.notice[data-kind="undecided"], .notice[data-kind="changed"], .notice[data-kind="list"] { border-color: var(--_error); }
.notice p { flex: 1 1 14rem; }
.live {
  position: absolute;
  inline-size: 1px;
  block-size: 1px;
  overflow: hidden;
  clip-path: inset(50%);
  white-space: nowrap;
}
@media (pointer: coarse) {
  button { min-block-size: 2.75rem; }
  .act { inline-size: 2.75rem; }
}
@media (hover: none) { .hint, .quiet { display: none; } }
@media (prefers-reduced-motion: reduce) {
  *, *::before, *::after, progress::-webkit-progress-value { animation: none !important; transition: none !important; }
  progress:indeterminate { background: repeating-linear-gradient(90deg, var(--_accent) 0 0.4rem, var(--_line) 0.4rem 0.8rem); }
}
@media (forced-colors: active) {
  progress { forced-color-adjust: none; block-size: 0.6rem; border: 1px solid CanvasText; background: Canvas; }
  progress::-webkit-progress-value { background: Highlight; }
  progress::-moz-progress-bar { background: Highlight; }
  progress:indeterminate { background: repeating-linear-gradient(90deg, Highlight 0 0.4rem, Canvas 0.4rem 0.8rem); animation: none; }
  .zone[data-drop="over"] { outline-color: Highlight; }
  .error { font-weight: 700; }
}
`;

const ICONS = {
  add: "M20 11.5l-8.1 8.1a5.2 5.2 0 0 1-7.4-7.4l8.4-8.4a3.5 3.5 0 0 1 5 5l-8.4 8.3a1.7 1.7 0 0 1-2.4-2.4l7.6-7.6",
  file: "M6 3h8l5 5v13H6zM14 3v5h5",
  close: "M6 6l12 12M18 6L6 18",
  remove: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5",
  retry: "M20 12a8 8 0 1 1-2.3-5.6L20 8.6M20 4v4.6h-4.6",
};

// ===================================================================== the element

/** An element with attributes and children. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function icon(name) {
  const create = (tag) => document.createElementNS("http://www.w3.org/2000/svg", tag);
  const [svg, path] = [create("svg"), create("path")];
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/**
 * What a drop or a paste holds, folders opened: a promise of files. `broken` is told the
 * names of folders that cannot be read.
 */
async function filesOf(transfer, broken) {
  // The items are there for this moment only: all of them are asked before any waiting.
  const found = [...transfer.items]
    .filter((item) => item.kind === "file")
    .map((item) => [item.webkitGetAsEntry?.() ?? null, item.getAsFile()]);
  const open = ([entry, file]) => {
    if (!entry?.isDirectory) return file;
    return walk(entry).catch(() => void broken(entry.name));
  };
  const files = await Promise.all(found.map(open));
  return files.flat().filter(Boolean);
}

async function walk(folder) {
  const reader = folder.createReader();
  const read = () => new Promise((resolve, reject) => reader.readEntries(resolve, reject));
  const files = [];
  for (let some = await read(); some.length; some = await read()) {
    for (const entry of some.filter(({ name }) => isVisible(name))) {
      if (entry.isDirectory) files.push(...(await walk(entry)));
      else files.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
    }
  }
  return files;
}

/** Whether it is nothing that a system has put there behind the visitor's back. */
function isVisible(name) {
  return !name.startsWith(".") && !/^(thumbs\.db|desktop\.ini)$/i.test(name);
}

/** What the folder button has chosen, as a drop of that folder. */
function filesIn(input) {
  return [...input.files].filter(({ name, webkitRelativePath: path }) =>
    (path || name).split("/").slice(path ? 1 : 0).every(isVisible),
  );
}

const carriesFiles = (event) => event.dataTransfer?.types.includes("Files") ?? false;

// What every browser shows in an <img>, and no script runs in.
const PREVIEWS = /^image\/(avif|bmp|gif|jpeg|png|webp)$/;

const REMEMBERED = "session-attachments";

const leftKey = () => `${REMEMBERED} ${location.pathname}`;

/**
 * What this tab left when it went away from this address: for each place the bundle, and
 * the CSRF cookie that it had. It is told once: the page after the next is another one.
 */
function takeLeft() {
  try {
    const left = sessionStorage.getItem(leftKey());
    sessionStorage.removeItem(leftKey());
    return JSON.parse(left) ?? {};
  } catch {
    return {}; // the visitor lets no page keep anything; in Node there is none
  }
}

const left = takeLeft();

/** One line of the list: a stored file, an upload, a problem, or several of them. */
class Entry {
  item = null; // as the server tells of it
  upload = null; // while it runs
  problem = null;
  file = null; // what the visitor chose, as long as this page lives
  removing = null;
  preview = null;
  row = null;

  constructor(name) {
    this.name = name;
  }

  get state() {
    if (this.upload) return this.upload.state;
    if (this.removing) return "removing";
    return this.problem ? "failed" : "stored";
  }

  get size() {
    return (this.upload ?? (this.problem ? this.file : null) ?? this.item ?? this.file)
      ?.size;
  }

  /** Whether trying again can help: the file is at hand, and it was not the file's fault. */
  get canRetry() {
    if (!this.problem) return false;
    if (this.problem.code === "notRemoved") return true;
    return this.file !== null && !this.problem.isFinal;
  }
}

const elements = new Set(); // those in the document

const door = new Door(globalThis.navigator?.locks);

// In Node there are no elements, but what is above them is tested there.
const Base = globalThis.HTMLElement ?? class {};

export class SessionAttachments extends Base {
  static formAssociated = true;
  static observedAttributes = [
    "accept",
    "disabled",
    "max-files",
    "max-size",
    "multiple",
    "required",
    "texts",
    "url",
  ];
  static #sheet = null;

  /** Not where a form goes that did not want to wait. */
  static #askToStay = (event) => {
    const isLost = (element) => element.busy && !element.#gate?.leaving;
    if ([...elements].some(isLost)) event.preventDefault();
  };

  #internals;
  #parts;
  #texts = TEXTS;
  #entries = new Map();
  #queue = null;
  #announcer;
  #listening = null; // ends what this element listens to
  #gate = null;
  #member = null;
  #hold = null; // while the form waits for the uploads
  #jobs = 0; // removals and folders that are being read
  #waiters = [];
  #changes = 0; // so that a list asked for before a change is not shown after it
  #cancelled = new Map(); // names → since when
  #fresh = null; // the bundle that came with the page, while an older one is looked for
  #ticking = null;
  #dragging = null;
  #relist = null;
  #listFailures = 0;
  #rows = 0;
  #isDisabled = false;
  #isListed = false; // whether the server's list has come
  #isDelayed = false; // whether an upload has had to wait since the last that ended
  #token = null; // the CSRF cookie when the page came
  #early = []; // files that came before it has started
  #unwanted = new Set(); // public ids of those whose box had been ticked by then

  constructor() {
    super();
    this.#internals = this.attachInternals();
    const root = this.attachShadow({ mode: "open", delegatesFocus: true });
    root.adoptedStyleSheets = [SessionAttachments.#styles()];
    this.#parts = this.#build();
    root.append(this.#parts.zone);
    this.#announcer = new Announcer({
      say: (text) => this.#say(text),
      // The same words, but it is not to be counted among what has failed.
      texts: () => ({ ...this.#texts, delayed: this.#texts.failed }),
    });
  }

  static #styles() {
    if (!this.#sheet) {
      this.#sheet = new CSSStyleSheet();
      this.#sheet.replaceSync(STYLES);
    }
    return this.#sheet;
  }

  // ------------------------------------------------------------------ for the page

  /** The files in the order of the list, each as an event's `detail`. */
  get files() {
    return [...this.#entries.values()].map((entry) => this.#view(entry));
  }

  /** Whether anything is under way: uploads, removals. */
  get busy() {
    return this.#jobs > 0 || [...this.#entries.values()].some((entry) => entry.upload);
  }

  /** Whether a file waits for the visitor to retry or dismiss it. */
  get failed() {
    return [...this.#entries.values()].some((entry) => entry.problem);
  }

  /** Take files in: an array, a FileList, or what a drop or a paste carries. */
  async add(source) {
    if (!(globalThis.DataTransfer && source instanceof DataTransfer)) {
      this.#take([...source]);
      return;
    }
    const broken = (name) => {
      this.#fail(new Entry(name), { code: "unreadable", isFinal: true });
    };
    // Taken before the job ends: in between, a form that waits would find nothing to wait
    // for, and go without them.
    await this.#job(filesOf(source, broken).then((files) => this.#take(files)));
  }

  /** Cancel the upload of that name. */
  cancelFile(name) {
    const entry = this.#entries.get(name);
    if (entry?.upload) this.#queue.cancel(entry.upload);
  }

  /** Upload, or remove, again what has failed. */
  retryFile(name) {
    const entry = this.#entries.get(name);
    if (entry?.upload) this.#queue.wake();
    else if (entry?.canRetry) this.#retry(entry);
  }

  /** Remove a stored file; resolves when the server has. */
  async removeFile(name) {
    const entry = this.#entries.get(name);
    if (entry?.item && !entry.upload) await this.#remove(entry);
  }

  /** Take a failed file off the list. What is stored under its name stays. */
  dismissFile(name) {
    const entry = this.#entries.get(name);
    if (entry?.problem) this.#dismiss(entry);
  }

  /** Show what the server has; `reset` also forgets what is no longer there. */
  async refresh({ reset = false } = {}) {
    const queue = this.#queue;
    try {
      let items;
      let asked;
      do {
        asked = this.#changes;
        items = await this.#list();
        if (this.#queue !== queue) return false; // it has another bundle now
      } while (asked !== this.#changes);
      this.#listFailures = 0;
      this.#isListed = true;
      this.#notify(null, "list");
      this.#restore(items, reset);
      return true;
    } catch (problem) {
      if (!this.#listening || this.#queue !== queue) return false;
      this.#listFailures += 1;
      const text = `${this.#texts.noList} ${this.#reason(problem)}`;
      const again = { text: this.#texts.tryAgain, act: () => this.#relistNow(text) };
      this.#notify(text, "list", [again]);
      clearTimeout(this.#relist);
      this.#relist = setTimeout(() => this.refresh(), backoff(this.#listFailures + 2));
      return false;
    }
  }

  /** The visitor wants the list, and to hear it when there is nothing new. */
  async #relistNow(text) {
    const isThere = await this.refresh();
    if (!isThere && this.#parts.notice.firstChild?.textContent === text) this.#say(text);
  }

  /** Resolves when nothing is under way any more. */
  async settled() {
    if (this.busy) await new Promise((resolve) => this.#waiters.push(resolve));
  }

  get form() {
    return this.#internals.form;
  }
  get labels() {
    return this.#internals.labels;
  }
  get name() {
    return this.#plain?.name ?? "";
  }
  set name(value) {
    // Scripts that copy a formset's rows rename whatever has a name, as Django's admin.
    if (this.#plain) this.#plain.name = value;
  }
  get type() {
    return this.localName;
  }
  get validity() {
    return this.#internals.validity;
  }
  get validationMessage() {
    return this.#internals.validationMessage;
  }
  get willValidate() {
    return this.#internals.willValidate;
  }
  checkValidity() {
    return this.#internals.checkValidity();
  }
  reportValidity() {
    return this.#internals.reportValidity();
  }
  get multiple() {
    return this.hasAttribute("multiple");
  }
  set multiple(value) {
    this.toggleAttribute("multiple", Boolean(value));
  }
  get required() {
    return this.hasAttribute("required");
  }
  set required(value) {
    this.toggleAttribute("required", Boolean(value));
  }
  get disabled() {
    return this.hasAttribute("disabled");
  }
  set disabled(value) {
    this.toggleAttribute("disabled", Boolean(value));
  }

  // -------------------------------------------------------------- for the browser

  connectedCallback() {
    if (this.#listening) return; // it was only moved
    if (document.readyState === "loading") {
      // Its children are still to come.
      const again = () => this.isConnected && this.connectedCallback();
      document.addEventListener("DOMContentLoaded", again, { once: true });
      return;
    }
    this.#takeOver();
    this.#token ??= this.#tokenCookie;
    if (this.#bundle?.name.includes("__prefix__")) {
      this.#sleep();
      return;
    }
    elements.add(this);
    this.#listening = new AbortController();
    this.#listen(this.#listening.signal);
    this.#start();
    this.#take(this.#early.splice(0));
  }

  // Where browsers can move an element without taking it out, uploads go on.
  connectedMoveCallback() {}

  disconnectedCallback() {
    queueMicrotask(() => {
      if (this.isConnected || !this.#listening) return;
      elements.delete(this);
      this.#listening.abort();
      this.#listening = null;
      this.#stop();
    });
  }

  attributeChangedCallback(name, before, now) {
    if (before === now) return;
    if (name === "texts") this.#readTexts();
    if (name === "url" && this.#listening) {
      this.#stop();
      this.#start();
    }
    this.#render();
  }

  formAssociatedCallback(form) {
    this.#gate?.leave(this.#member);
    this.#gate = form ? Gate.of(form) : null;
    this.#member ??= {
      concerned: () => !this.#isDisabled && (this.busy || this.#isInQuestion),
      ready: () => this.#ready(),
      release: () => this.#hold?.end(false),
    };
    this.#gate?.join(this.#member);
  }

  formDisabledCallback(isDisabled) {
    this.#isDisabled = isDisabled;
    this.#render();
  }

  formResetCallback() {
    if (!this.#listening) return;
    this.#stay();
    this.#hold?.end(false);
    this.#queue.close();
    for (const entry of [...this.#entries.values()]) {
      if (entry.upload) this.#queue.cancel(entry.upload); // it waits for a removal
      if (entry.problem) this.#dismiss(entry);
    }
    this.#queue.open();
    this.refresh({ reset: true });
  }

  // ------------------------------------------------------------- start and listen

  #start() {
    this.#queue = new Queue({
      send: (upload, tell) => this.#send(upload, tell),
      changed: (upload) => this.#changed(upload),
      door,
      online: () => navigator.onLine,
    });
    const queue = this.#queue;
    this.#chooseBundle();
    this.#render();
    // Uploads go after the list, which says what bundle it is; but not never, if a server
    // or a proxy keeps the answer to itself.
    Promise.race([this.refresh(), late(15_000)]).then(() => {
      if (this.#queue !== queue) return;
      this.#fresh = null;
      queue.open();
    });
  }

  #stop() {
    clearTimeout(this.#relist);
    this.#isListed = false;
    const queue = this.#queue;
    this.#queue = null;
    queue?.close();
    for (const entry of [...this.#entries.values()]) this.#forget(entry);
    this.#cancelled.clear();
    this.#settle();
  }

  /** In the row that a formset copies: until the row is copied and renamed. */
  #sleep() {
    this.#render();
    const observer = new MutationObserver(() => {
      observer.disconnect();
      if (this.isConnected) this.connectedCallback();
    });
    observer.observe(this.#bundle, { attributeFilter: ["name"] });
  }

  /**
   * What works without JavaScript is no longer shown, and must not be sent either. What
   * the visitor has done with it meanwhile counts.
   */
  #takeOver() {
    const input = this.#plain;
    if (input?.id && !this.id) {
      // The label of the field is now this element's.
      const id = input.id;
      input.removeAttribute("id");
      this.id = id;
    }
    const list = this.querySelector(":scope > [role=list]");
    if (list) {
      // What the page has shown counts until the server's list is here.
      this.append(...list.querySelectorAll("input[type=hidden]"));
      const ticked = list.querySelectorAll("input[type=checkbox]:checked");
      for (const { value } of ticked) this.#unwanted.add(value);
      list.remove();
    }
    if (input) {
      this.#early.push(...input.files);
      input.value = "";
      input.disabled = true;
    }
  }

  /** Tell the form which files the visitor sees, so that none gets lost unnoticed. */
  #showForm() {
    const bundle = this.#bundle;
    if (!this.#isListed || !bundle?.name.endsWith("-bundle")) return;
    const name = bundle.name.replace(/-bundle$/, "-shown");
    const ids = [...this.#entries.values()]
      .map((entry) => entry.item ?? entry.problem?.item)
      .filter(Boolean)
      .map(publicId);
    const inputs = [...this.children].filter((child) => child.name === name);
    if (inputs.map((input) => input.value).join() === ids.join()) return;
    for (const input of inputs) input.remove();
    bundle.after(...ids.map((value) => h("input", { type: "hidden", name, value })));
  }

  /** The file input that works without JavaScript. */
  get #plain() {
    return this.querySelector(":scope > input[type=file]");
  }

  get #bundle() {
    return this.querySelector(":scope > input[type=hidden]");
  }

  /**
   * Find the bundle that this page had before a reload, the back button or a login.
   *
   * The history's entry remembers it: a second tab, or the same page opened anew, has
   * an entry of its own. So has the page to which a login leads back, but for the visitor
   * that is the one that was left. A login changes the CSRF cookie.
   *
   * A row that a formset has copied gets a bundle of its own.
   */
  #chooseBundle() {
    const input = this.#bundle;
    if (!input || !this.hasAttribute("fresh") || this.#fresh) return;
    const isTaken = (id) =>
      [...elements].some((other) => other !== this && other.#bundle?.value === id);
    if (isTaken(input.value) || input.value.includes("__prefix__")) {
      this.#use(randomId());
      return;
    }
    const { id, token } = left[this.#place] ?? {};
    const isAfterLogin = token !== this.#tokenCookie;
    const before = history.state?.[REMEMBERED]?.[this.#place] ?? (isAfterLogin && id);
    if (before && before !== input.value && !isTaken(before)) {
      this.#fresh = input.value;
      this.#use(before);
    }
  }

  /** Whether the bundle is this form's own, and no name that the site has given it. */
  get #isDrawn() {
    return this.#bundle && (this.hasAttribute("drawn") || this.hasAttribute("fresh"));
  }

  #use(id) {
    const url = this.getAttribute("url");
    const input = this.#bundle;
    const old = input.value;
    input.value = id;
    const place = url.lastIndexOf(old);
    const changed = url.slice(0, place) + id + url.slice(place + old.length);
    // Not as a change of the page's, which would start all over.
    const listening = this.#listening;
    this.#listening = null;
    this.setAttribute("url", changed);
    this.#listening = listening;
  }

  /** Which one on the page it is: two forms may have fields of one name. */
  get #place() {
    const hidden = ":scope > input[type=hidden]";
    const { name } = this.#bundle;
    const same = [...document.querySelectorAll("session-attachments")].filter(
      (element) => element.querySelector(hidden)?.name === name,
    );
    return `${name} ${same.indexOf(this)}`;
  }

  #remember() {
    const input = this.#bundle;
    const state = history.state ?? {};
    if (!input || !this.hasAttribute("fresh") || typeof state !== "object") return;
    if (state[REMEMBERED]?.[this.#place] === input.value) return;
    const bundles = { ...state[REMEMBERED], [this.#place]: input.value };
    history.replaceState({ ...state, [REMEMBERED]: bundles }, "");
  }

  /** The page is left: perhaps for a login, which leads back to its address. */
  #leave() {
    if (!this.#isDrawn || !this.#entries.size) return;
    const here = { id: this.#bundle.value, token: this.#token || this.#tokenCookie };
    const all = { ...takeLeft(), [this.#place]: here };
    try {
      sessionStorage.setItem(leftKey(), JSON.stringify(all));
    } catch {
      // Then there is only the way back by the button.
    }
  }

  #listen(signal) {
    const on = (target, type, call) => target.addEventListener(type, call, { signal });
    const { add, folder, picker, folderPicker } = this.#parts;
    on(add, "click", () => picker.click());
    on(folder, "click", () => folderPicker.click());
    for (const input of [picker, folderPicker]) {
      on(input, "change", () => {
        const files = input === picker ? input.files : filesIn(input);
        this.#take([...files]);
        input.value = ""; // so that the same file can be chosen again
      });
      // A file input's own events are no business of the page.
      on(input, "input", (event) => event.stopPropagation());
      on(input, "cancel", (event) => event.stopPropagation());
    }
    // At the window, where everybody else has had their turn.
    on(window, "dragenter", (event) => this.#drag(event));
    on(window, "dragover", (event) => this.#drag(event));
    on(window, "dragleave", (event) => {
      if (!event.relatedTarget) this.#showDrop(null); // out of the window
    });
    on(window, "drop", (event) => this.#drop(event));
    on(document, "paste", (event) => this.#paste(event));
    on(window, "online", () => this.#back());
    on(document, "visibilitychange", () => {
      if (document.visibilityState === "visible") this.#lookAgain();
    });
    on(window, "pagehide", () => this.#leave());
    on(window, "pageshow", (event) => {
      if (event.persisted) this.#shownAgain();
    });
  }

  /** The connection is there again. */
  #back() {
    this.#queue?.wake();
    this.#lookAgain();
  }

  /** Much may have happened; but that a form on its way has used its files up is no loss. */
  #lookAgain() {
    if (!this.busy && !this.#gate?.leaving) this.refresh();
  }

  /** The visitor goes on with the files of this page: its form is not on its way. */
  #stay() {
    if (this.#gate) this.#gate.leaving = false;
  }

  /** The visitor came back to this page, as it was left. */
  #shownAgain() {
    this.#hold?.end(false);
    const reset = this.#gate?.passed ?? false;
    setTimeout(() => {
      if (this.#gate) this.#gate.passed = false; // when all its members have looked
    });
    this.#stay();
    this.refresh({ reset });
  }

  // ------------------------------------------------------- what the visitor brings

  /** Whether a drop there is this element's: on it, or on a form that leaves all to it. */
  #isMine(event) {
    const path = event.composedPath();
    const ofForm = (each) => each.getAttribute("drop") === "form" && path.includes(each.form);
    const all = [...elements].filter((each) => !each.#isDisabled);
    return this === (all.find((each) => path.includes(each)) ?? all.find(ofForm));
  }

  #drag(event) {
    if (!carriesFiles(event)) return;
    const isMine = this.#isMine(event);
    if (!this.#isDisabled) this.#showDrop(isMine ? "over" : "near");
    if (isMine) {
      event.preventDefault();
      event.dataTransfer.dropEffect = "copy";
    } else if (!event.defaultPrevented && !takesFiles(event)) {
      // Dropped beside the zone, or on one that is disabled, a file would replace the page,
      // and the form with it.
      event.preventDefault();
      event.dataTransfer.dropEffect = "none";
    }
  }

  #drop(event) {
    if (!carriesFiles(event)) return;
    this.#showDrop(null);
    if (this.#isMine(event)) {
      event.preventDefault();
      this.add(event.dataTransfer);
    } else if (!takesFiles(event)) {
      event.preventDefault();
    }
  }

  #showDrop(where) {
    clearTimeout(this.#dragging);
    const { zone } = this.#parts;
    if (where) zone.dataset.drop = where;
    else delete zone.dataset.drop;
    // Not every end of a drag has an event; but while it lasts there are many.
    if (where) this.#dragging = setTimeout(() => this.#showDrop(null), 1000);
  }

  #paste(event) {
    const files = [...(event.clipboardData?.files ?? [])];
    const target = event.composedPath()[0];
    const isText = event.clipboardData?.types.includes("text/plain");
    if (event.defaultPrevented || this.#isDisabled || !files.length) return;
    if (target.isContentEditable || (isText && target.matches?.("input, textarea"))) {
      return; // text, with a picture of it
    }
    const isHere = target === document.body ? elements.size === 1 : this.#isNear(target);
    if (!isHere) return;
    event.preventDefault();
    // Browsers call every pasted image the same.
    const isTaken = (name) => this.#entries.has(name);
    this.#take(files.map((file) => renamed(file, uniqueName(file.name, isTaken))));
  }

  /** Whether a paste there means this element. */
  #isNear(target) {
    if (this.contains(target) || this.shadowRoot.contains(target)) return true;
    const form = target.closest?.("form");
    const first = [...elements].find((element) => element.form === form);
    return form !== null && form === this.form && first === this;
  }

  #take(files) {
    if (this.#isDisabled) return;
    if (!this.#queue) {
      this.#early.push(...files);
      return;
    }
    if (files.length) this.#stay();
    const names = new Set();
    for (const file of files) {
      // Two of one folder tree may have the same name, and none may get lost.
      const clean = cleanName(file.name);
      const name = clean && uniqueName(clean, (each) => names.has(each));
      names.add(name);
      this.#takeOne(name, file, names.size);
    }
    this.#render();
  }

  #takeOne(name, file, place) {
    const known = this.#entries.get(name);
    const others = this.multiple
      ? [...this.#entries.values()].filter((e) => e !== known && (e.item || e.upload)).length
      : place - 1;
    const problem = name
      ? this.#limits.refuse({ name, type: file.type, size: file.size }, others)
      : { code: "badName" };
    const entry = known ?? new Entry(name || file.name);
    if (problem) {
      this.#fail(entry, { ...problem, isRefusal: true, isFinal: true }, file);
      return;
    }
    const view = { ...this.#view(entry), size: file.size, file, state: "waiting" };
    if (!this.#emit("added", view, { cancelable: true })) return;
    if (!this.multiple) this.#makeRoom(entry);
    this.#cancelled.delete(name);
    this.#remember();
    this.#upload(entry, file);
  }

  get #limits() {
    const number = (name) => {
      const value = parseInt(this.getAttribute(name), 10);
      return Number.isNaN(value) ? Infinity : value;
    };
    return new Limits({
      maxFiles: this.multiple ? number("max-files") : 1,
      maxSize: number("max-size"),
      accept: this.getAttribute("accept") ?? "",
    });
  }

  /** Where there is only one file, a newer choice ends what was not finished. */
  #makeRoom(entry) {
    for (const other of [...this.#entries.values()]) {
      if (other === entry) continue;
      if (other.upload) this.#queue.cancel(other.upload);
      if (other.problem) this.#dismiss(other);
    }
  }

  // ---------------------------------------------------------------------- uploads

  #upload(entry, file) {
    const before = entry.upload;
    const upload = new Upload(entry.name, file);
    upload.replaces = entry.item !== null;
    this.#entries.set(entry.name, entry);
    Object.assign(entry, { upload, problem: null });
    this.#setFile(entry, file);
    if (before) this.#queue.cancel(before);
    const queue = this.#queue;
    const add = () => {
      if (upload === entry.upload && this.#queue === queue) queue.add(upload);
    };
    // A removal that is under way must not take the new file with it.
    if (entry.removing) entry.removing.then(add);
    else add();
  }

  #setFile(entry, file) {
    if (entry.preview) URL.revokeObjectURL(entry.preview);
    entry.file = file;
    entry.preview = file && PREVIEWS.test(file.type) ? URL.createObjectURL(file) : null;
    entry.row?.setThumbnail();
  }

  #retry(entry) {
    this.#stay();
    if (entry.problem.code === "notRemoved") {
      this.#remove(entry);
      return;
    }
    this.#cancelled.delete(entry.name);
    this.#upload(entry, entry.file);
    this.#render();
  }

  #send(upload, { progress, sent }) {
    let request;
    let isAborted = false;
    const url = `${this.getAttribute("url")}${encodeURIComponent(upload.name)}/`;
    const attempt = (headers) => {
      const all = { "Content-Type": "application/octet-stream", ...headers };
      request = put(url, upload.file, { headers: all, progress, sent });
      return request.done;
    };
    const done = this.#withToken(attempt, () => isAborted);
    return {
      done,
      abort: () => {
        isAborted = true;
        request?.abort();
      },
    };
  }

  /**
   * Ask with the CSRF token: the form's, or the cookie's.
   *
   * A login in another tab makes the form's token old. Where the page has not noticed,
   * the cookie's is tried, and given to the form too, so that it can be submitted.
   */
  async #withToken(attempt, isAborted = () => false) {
    this.#renewToken();
    const input = this.#tokenInput;
    const header = this.getAttribute("csrf-header") ?? "X-CSRFToken";
    const used = input?.value || this.#tokenCookie;
    const answer = await attempt({ [header]: used });
    if (answer.status !== 403 || answer.body?.code !== "csrf") return answer;
    await this.#list().catch(() => null); // sets the cookie
    const newer = this.#tokenCookie;
    if (!newer || newer === used || isAborted()) return answer;
    const second = await attempt({ [header]: newer });
    if (input && second.body?.code !== "csrf") input.value = newer;
    return second;
  }

  /** Give the form the token of a login that came after the page. */
  #renewToken() {
    const newer = this.#tokenCookie;
    const input = this.#tokenInput;
    if (input && newer && this.#token && newer !== this.#token) input.value = newer;
  }

  get #tokenInput() {
    return (this.form ?? document).querySelector("[name=csrfmiddlewaretoken]");
  }

  get #tokenCookie() {
    return cookie(this.getAttribute("csrf-cookie") ?? "csrftoken");
  }

  /** The queue says that an upload has moved on. */
  #changed(upload) {
    const entry = [...this.#entries.values()].find((each) => each.upload === upload);
    if (!entry) {
      this.#settle();
      return; // it was replaced, or its element has gone
    }
    const { state } = upload;
    if (state === "sending" && upload.sent === 0) {
      if (upload.attempts === 1) {
        this.#emit("started", this.#view(entry));
        this.#announcer.tell("started", entry.name);
      }
    } else if (state === "sending" || state === "saving") {
      this.#emit("progress", this.#view(entry));
    } else if (state === "retrying" || state === "offline") {
      this.#emit("retrying", this.#view(entry));
      const reason = state === "offline" ? this.#texts.offline : this.#reason(upload.problem);
      // Once, not for each file and each attempt.
      if (!this.#isDelayed) this.#announcer.tell("delayed", entry.name, reason);
      this.#isDelayed = true;
    }
    if (!upload.running) {
      this.#isDelayed = false;
      entry.upload = null;
      if (state === "stored") this.#stored(entry, upload);
      else if (state === "failed") this.#failedUpload(entry, upload.problem);
      else this.#cancelledUpload(entry);
    }
    this.#renderEntry(entry);
    this.#settle();
    if (!upload.running && !this.busy) this.#afterwards();
  }

  #stored(entry, { item, replaces: replaced }) {
    this.#changes += 1;
    if (item.name !== entry.name) {
      // The server keeps it under another name than the browser sent.
      const other = this.#entries.get(item.name);
      if (other && other !== entry) this.#forget(other);
      this.#entries.delete(entry.name);
      entry.name = item.name;
      this.#entries.set(entry.name, entry);
    }
    entry.item = item;
    if (entry.problem?.code === "notRemoved") entry.problem = null; // it is replaced
    this.#emit("stored", { ...this.#view(entry), replaced });
    this.#announcer.tell(replaced ? "replaced" : "finished", entry.name);
    this.#change();
    if (!this.multiple) {
      for (const other of [...this.#entries.values()]) {
        if (other !== entry && other.item && !other.upload) this.#remove(other);
      }
    }
  }

  #failedUpload(entry, problem) {
    const isFinal =
      FINAL.includes(problem.status) || TOO_LARGE.includes(problem.code);
    this.#fail(entry, { ...problem, isFinal }, entry.file);
  }

  #fail(entry, problem, file = entry.file) {
    if (entry.name && !this.#entries.has(entry.name)) this.#entries.set(entry.name, entry);
    entry.problem = problem;
    if (!entry.upload) this.#setFile(entry, file); // else it is about another file
    this.#renderEntry(entry);
    this.#emit(problem.isRefusal ? "refused" : "failed", this.#view(entry));
    this.#announcer.tell("failed", entry.name, this.#reason(problem));
  }

  #cancelledUpload(entry) {
    this.#emit("cancelled", this.#view(entry));
    this.#announcer.tell("cancelled", entry.name);
    if (entry.item) this.#setFile(entry, null);
    else this.#forget(entry);
    // All bytes may have arrived: see, in a moment, what the server made of it.
    this.#cancelled.set(entry.name, Date.now());
    for (const wait of [1000, 5000]) setTimeout(() => this.#queue && this.refresh(), wait);
  }

  /** When all is done, the list says whether what was there before still is. */
  #afterwards() {
    if (this.#hold || !this.#listening) return;
    this.refresh();
  }

  // --------------------------------------------------------------- what is stored

  async #list() {
    const signal = this.#listening?.signal;
    const answer = await this.#ask(this.getAttribute("url"), { signal });
    if (!answer.ok || !Array.isArray(answer.body)) {
      throw problemOf(answer.status, answer.body);
    }
    return answer.body;
  }

  async #ask(url, options) {
    let response;
    try {
      response = await fetch(url, { cache: "no-store", ...options });
    } catch {
      throw { code: "connection" };
    }
    const body = await response.json().catch(() => null);
    return { ok: response.ok, status: response.status, body };
  }

  #restore(items, reset) {
    const there = new Map(items.map((item) => [item.name, item]));
    for (const entry of [...this.#entries.values()]) {
      if (!there.has(entry.name)) this.#missing(entry, reset);
    }
    if (!items.length && !this.#entries.size) {
      // The former bundle is used up: back to the one that came with the page. Or the
      // form was sent, and the next one is another.
      if (this.#fresh) this.#use(this.#fresh);
      else if (reset && this.#isDrawn) this.#use(randomId());
    }
    for (const item of items) this.#present(item);
    if (items.length) {
      door.open();
      this.#remember();
    }
    this.#render();
  }

  #missing(entry, reset) {
    const { item } = entry;
    entry.item = null;
    if (entry.upload) return;
    if (reset || (!item && !entry.problem)) this.#forget(entry);
    else if (item && !entry.removing) {
      door.close(); // perhaps the session has ended
      this.#fail(entry, { code: "lost", item });
    }
  }

  #present(item) {
    let entry = this.#entries.get(item.name);
    // Stored although it was cancelled: the last byte was faster.
    const isLate = Date.now() - this.#cancelled.get(item.name) < 10_000;
    if (!entry && (isLate || this.#unwanted.delete(publicId(item)))) {
      entry = new Entry(item.name);
      entry.item = item;
      this.#entries.set(item.name, entry);
      this.#remove(entry);
      return;
    }
    if (!entry) {
      entry = new Entry(item.name);
      this.#entries.set(item.name, entry);
    }
    const isOther = entry.item !== null && entry.item.etag !== item.etag;
    entry.item = item;
    if (isOther && !entry.upload && !entry.problem) this.#setFile(entry, null);
    if (isOther && isLate && !entry.upload) {
      // What it has replaced cannot come back.
      this.#cancelled.delete(item.name);
      this.#stored(entry, { item, replaces: true });
    }
    if (entry.problem?.code === "lost") entry.problem = null;
  }

  #remove(entry) {
    if (entry.removing) return entry.removing;
    const view = this.#view(entry);
    if (!this.#emit("removing", view, { cancelable: true })) return Promise.resolve();
    this.#stay();
    const { item } = entry;
    // This very file, not one that another tab has put in its place.
    const match = { "If-Match": item.etag };
    const request = this.#withToken((token) =>
      this.#ask(item.url, { method: "DELETE", headers: { ...token, ...match } }),
    );
    entry.problem = null;
    entry.removing = this.#job(request).then(
      (answer) => {
        entry.removing = null;
        if (answer.ok || answer.status === 404) this.#removed(entry, item);
        else this.#notRemoved(entry, item, problemOf(answer.status, answer.body));
      },
      (problem) => {
        entry.removing = null;
        this.#notRemoved(entry, item, problem);
      },
    );
    this.#renderEntry(entry);
    return entry.removing;
  }

  #removed(entry, item) {
    this.#changes += 1;
    if (entry.item?.etag === item.etag) entry.item = null;
    this.#emit("removed", { ...this.#view(entry), size: item.size, state: "removed" });
    this.#announcer.tell("removed", entry.name);
    if (!entry.upload && !entry.item) this.#forget(entry);
    this.#change();
    this.#settle();
  }

  #notRemoved(entry, item, problem) {
    if (!entry.item) {
      this.#removed(entry, item); // the list has said so
      return;
    }
    const detail = `${this.#texts.notRemoved} ${this.#reason(problem)}`;
    this.#fail(entry, { code: "notRemoved", detail });
    this.#settle();
    if (problem.status === 412) this.refresh();
  }

  #dismiss(entry) {
    entry.problem = null;
    if (entry.item && !entry.upload) this.#setFile(entry, null);
    if (entry.item || entry.upload) this.#renderEntry(entry);
    else this.#forget(entry);
    this.#settle();
  }

  /** Take the line away, and bring the focus to a place that makes sense. */
  #forget(entry) {
    if (this.#entries.get(entry.name) === entry) this.#entries.delete(entry.name);
    if (entry.preview) URL.revokeObjectURL(entry.preview);
    entry.preview = null;
    const row = entry.row?.element;
    entry.row = null;
    if (!row) return;
    const hadFocus = row.contains(this.shadowRoot.activeElement);
    const next = row.nextElementSibling;
    row.remove();
    if (hadFocus) (next?.querySelector("[data-end]") ?? this.#parts.add).focus();
  }

  /** Count a promise as something that is under way. */
  async #job(promise) {
    this.#jobs += 1;
    this.#render();
    try {
      return await promise;
    } finally {
      this.#jobs -= 1;
      queueMicrotask(() => this.#settle());
    }
  }

  // --------------------------------------------------------------- before a submit

  /** Wait for the uploads, see that all is as shown: promises whether the form may go. */
  async #ready() {
    this.#notify(null);
    if (this.failed) {
      this.#askVisitor(); // rather now than after a long wait
      return false;
    }
    if (this.busy && !(await this.#wait())) return false;
    const isAwaited = !this.busy; // or the page did not want to wait
    const before = this.#etags();
    if (this.#isInQuestion) {
      // Without an answer in time the form's own view will have to say.
      await Promise.race([this.refresh(), late(5000)]);
    }
    // What came meanwhile, or was cancelled too late and is being removed.
    if (isAwaited && this.busy && !(await this.#wait())) return false;
    if (this.failed) {
      this.#askVisitor();
      return false;
    }
    if ([...this.#etags()].some((etag) => !before.has(etag))) {
      this.#notify(this.#texts.changed, "changed", [], true);
      return false;
    }
    this.#renewToken();
    return true;
  }

  /** Whether the server may have files that would be sent. */
  get #isInQuestion() {
    return this.#entries.size > 0 || this.#cancelled.size > 0;
  }

  #etags() {
    const items = [...this.#entries.values()].map((entry) => entry.item);
    return new Set(items.filter(Boolean).map((item) => item.etag));
  }

  /** Wait until all is uploaded; promises false when the visitor thinks better of it. */
  async #wait() {
    const view = { count: this.#queue.size };
    if (!this.#emit("waiting", view, { cancelable: true, plural: true })) return true;
    this.#hold = {};
    const ended = new Promise((resolve) => {
      this.#hold.end = resolve;
    });
    const hold = { text: this.#texts.hold, act: () => this.#hold?.end(false) };
    this.#notify(this.#texts.submitting, "submitting", [hold]);
    this.#setState("submitting", true);
    const result = await Promise.race([this.settled().then(() => true), ended]);
    this.#hold = null;
    this.#setState("submitting", false);
    this.#notify(null, "submitting");
    return result;
  }

  /** Some files are not uploaded: nothing is dropped without the visitor's word. */
  #askVisitor() {
    const entries = [...this.#entries.values()].filter((entry) => entry.problem);
    const acts = [];
    if (entries.some((entry) => entry.canRetry)) {
      const act = () => {
        this.#notify(null);
        for (const entry of entries) if (entry.canRetry) this.#retry(entry);
        this.#parts.add.focus();
      };
      acts.push({ text: this.#texts.tryAgain, act });
    }
    if (!entries.some((entry) => entry.problem.code === "notRemoved")) {
      const act = () => {
        this.#notify(null);
        for (const entry of entries) if (entry.problem) this.#dismiss(entry);
        this.#gate?.resume();
      };
      acts.push({ text: this.#texts.goOn, act });
    }
    this.#emit("undecided", { count: entries.length }, { plural: true });
    this.#notify(this.#texts.undecided, "undecided", acts, true);
  }

  // ------------------------------------------------------------ what is to be seen

  #build() {
    const parts = {
      addText: h("span"),
      folder: h("button", { type: "button", class: "quiet", part: "folder" }),
      hint: h("span", { class: "hint", part: "hint" }),
      limits: h("p", { class: "limits", part: "limits", id: "limits" }),
      help: h("p", { hidden: "", id: "help" }),
      list: h("ul", { class: "list", part: "list", role: "list" }),
      notice: h("div", { class: "notice", part: "notice", hidden: "" }),
      live: h("div", { class: "live", role: "status", "aria-atomic": "false" }),
      picker: h("input", { type: "file", hidden: "", tabindex: "-1" }),
      folderPicker: h("input", {
        type: "file",
        hidden: "",
        tabindex: "-1",
        webkitdirectory: "",
      }),
    };
    const look = {
      type: "button",
      class: "add",
      part: "add",
      "aria-describedby": "help limits",
    };
    parts.add = h("button", look, icon("add"), parts.addText);
    parts.bar = h("div", { class: "bar" }, parts.add, parts.folder, parts.hint);
    const { bar, limits, help, list, notice, live, picker, folderPicker } = parts;
    const inside = [bar, limits, help, list, notice, live, picker, folderPicker];
    parts.zone = h("div", { class: "zone", part: "zone", role: "group" }, ...inside);
    return parts;
  }

  #readTexts() {
    try {
      this.#texts = { ...TEXTS, ...JSON.parse(this.getAttribute("texts") || "{}") };
    } catch {
      this.#texts = TEXTS;
    }
  }

  get #locale() {
    return this.closest("[lang]")?.lang;
  }

  #reason(problem) {
    if (problem.detail) return problem.detail;
    const values = { ...problem.values };
    if (problem.bytes !== undefined) {
      values.limit = formatSize(problem.bytes, this.#locale);
    }
    if (problem.accept) values.types = describeTypes(problem.accept, this.#texts);
    return fill(this.#texts[problem.code] ?? this.#texts.refused, values);
  }

  #view(entry) {
    const { name, item, problem, file, upload } = entry;
    return {
      name,
      size: entry.size ?? 0,
      type: item?.mimetype ?? file?.type ?? "",
      state: entry.state,
      progress: upload ? upload.share : Number(item !== null && !problem),
      url: item?.url ?? null,
      item,
      file,
      error: problem && { code: problem.code, message: this.#reason(problem) },
    };
  }

  #emit(step, detail, { cancelable = false, plural = false } = {}) {
    const type = `${plural ? "attachments" : "attachment"}-${step}`;
    const options = { bubbles: true, composed: true, cancelable, detail };
    return this.dispatchEvent(new CustomEvent(type, options));
  }

  /** As a form's other fields do. */
  #change() {
    this.dispatchEvent(new Event("change", { bubbles: true }));
  }

  #setState(name, isOn) {
    try {
      if (isOn) this.#internals.states.add(name);
      else this.#internals.states.delete(name);
    } catch {
      // Chrome before 125 wants two dashes; who styles by states has a newer one.
    }
  }

  #say(text) {
    const { live } = this.#parts;
    live.append(h("p", {}, text));
    while (live.children.length > 20) live.firstElementChild.remove();
  }

  /** Show a notice of that kind, or without a text hide it, whatever it is or its kind. */
  #notify(text, kind = null, acts = [], isUrgent = false) {
    const { notice } = this.#parts;
    if (!text) {
      if (kind && notice.dataset.kind !== kind) return;
      const hadFocus = notice.contains(this.shadowRoot.activeElement);
      notice.hidden = true;
      delete notice.dataset.kind;
      notice.replaceChildren();
      if (hadFocus) this.#parts.add.focus();
      return;
    }
    if (kind === "list" && !notice.hidden && notice.dataset.kind !== "list") return;
    if (notice.dataset.kind === kind && notice.firstChild?.textContent === text) return;
    const buttons = acts.map(({ text: label, act }) => {
      const button = h("button", { type: "button", part: "button" }, label);
      button.addEventListener("click", act);
      return button;
    });
    const hadFocus = notice.contains(this.shadowRoot.activeElement);
    notice.dataset.kind = kind;
    notice.replaceChildren(h("p", {}, h("bdi", {}, text)), ...buttons);
    notice.hidden = false;
    this.#say(text);
    if (isUrgent || kind === "submitting") {
      const { matches: isReduced } = matchMedia("(prefers-reduced-motion: reduce)");
      const behavior = isReduced ? "auto" : "smooth";
      notice.scrollIntoView({ block: "nearest", behavior });
    }
    if (isUrgent || hadFocus) {
      (buttons[0] ?? this.#parts.add).focus({ preventScroll: true });
    }
  }

  #render() {
    const { zone, addText, folder, hint, limits, help, list, bar } = this.#parts;
    const texts = this.#texts;
    const isOne = !this.multiple;
    zone.setAttribute("aria-label", this.#labelText() || texts.files);
    zone.toggleAttribute("data-disabled", this.#isDisabled);
    const input = this.#plain;
    zone.toggleAttribute("data-invalid", input?.getAttribute("aria-invalid") === "true");
    list.setAttribute("aria-label", texts.files);
    bar.hidden = this.#isDisabled;
    addText.textContent = isOne ? texts.addOne : texts.add;
    folder.textContent = texts.addFolder;
    folder.hidden = isOne || !("webkitdirectory" in this.#parts.folderPicker);
    hint.textContent = isOne ? texts.dropOne : texts.drop;
    limits.textContent = this.#limitsText();
    limits.hidden = !limits.textContent || this.#isDisabled;
    const accept = this.getAttribute("accept") ?? "";
    Object.assign(this.#parts.picker, { multiple: !isOne, accept });
    help.textContent = this.#helpText();
    for (const entry of this.#entries.values()) this.#renderEntry(entry);
    this.#settle();
  }

  #labelText() {
    const labels = this.labels ? [...this.labels] : [];
    const words = labels.map((label) => label.textContent.trim().replace(/\s*:$/, ""));
    return words.join(" ");
  }

  #limitsText() {
    const { maxFiles, maxSize, accept } = this.#limits;
    const texts = this.#texts;
    const size = formatSize(maxSize, this.#locale);
    return [
      this.multiple &&
        maxFiles < Infinity &&
        fill(maxFiles === 1 ? texts.onlyOne : texts.maxFiles, { limit: maxFiles }),
      maxSize < Infinity &&
        fill(this.multiple ? texts.maxSize : texts.maxSizeOne, { limit: size }),
      describeTypes(accept, texts),
    ]
      .filter(Boolean)
      .join(" · ");
  }

  /**
   * That the field is required, which no button can have as an attribute; its help and
   * its errors, to which not every browser lets a reference lead out of a shadow root.
   */
  #helpText() {
    const ids = (this.#plain?.getAttribute("aria-describedby") ?? "").split(/\s+/);
    const outside = ids.map(
      (id) => id && this.getRootNode().getElementById?.(id)?.textContent.trim(),
    );
    const texts = [this.required && this.#texts.required, ...outside].filter(Boolean);
    return [...new Set(texts)].join(" "); // it may be the error, too
  }

  #renderEntry(entry) {
    if (this.#entries.get(entry.name) !== entry) return;
    if (!entry.row) {
      entry.row = this.#row(entry);
      this.#parts.list.append(entry.row.element);
    }
    entry.row.show();
  }

  #row(entry) {
    const id = `error-${(this.#rows += 1)}`;
    const act = (attributes) =>
      h("button", { type: "button", class: "act", ...attributes });
    const thumbnail = h("span", {
      class: "thumbnail",
      part: "thumbnail",
      "aria-hidden": "true",
    });
    const words = h("bdi");
    const name = h("a", { class: "name", part: "name" }, words);
    const progress = h("progress", { max: "1", part: "progress" });
    const status = h("bdi", { class: "status", part: "status" });
    const line = h("div", { class: "line" }, progress, status);
    const reason = h("bdi");
    const error = h("p", { class: "error", part: "error", id }, reason);
    const text = h("div", { class: "text" }, name, line, error);
    const retry = act({ part: "action retry", "aria-describedby": id });
    retry.append(icon("retry"));
    const end = act({ part: "action end", "data-end": "" });
    const element = h("li", { class: "file" }, thumbnail, text, retry, end);
    const label = (button, words) => {
      button.title = fill(words, { name: entry.name });
      button.setAttribute("aria-label", button.title);
    };

    const setThumbnail = () => {
      const letters = badge(entry.name);
      const plain = () => thumbnail.replaceChildren(letters || icon("file"));
      if (!entry.preview) {
        plain();
        return;
      }
      const image = h("img", { src: entry.preview, alt: "", decoding: "async" });
      image.addEventListener("error", plain);
      thumbnail.replaceChildren(image);
    };

    const show = () => {
      const { state, item, upload, problem } = entry;
      const texts = this.#texts;
      element.dataset.state = state;
      element.setAttribute("part", `file ${state}`);
      words.textContent = name.title = entry.name;
      if (item && !this.#isGone(entry)) {
        name.href = item.url;
        name.download = entry.name;
      } else {
        name.removeAttribute("href");
      }
      const isMoving = state === "sending" || state === "saving";
      progress.hidden = !isMoving;
      progress.setAttribute("aria-label", fill(texts.progress, { name: entry.name }));
      if (state === "saving") progress.removeAttribute("value");
      else progress.value = upload?.share ?? 0;
      status.textContent = this.#status(entry);
      const trouble = problem ?? upload?.problem;
      reason.textContent = trouble ? this.#reason(trouble) : "";
      error.hidden = !trouble;
      label(retry, texts.retry);
      const hadFocus = this.shadowRoot.activeElement === retry;
      retry.hidden = !(entry.canRetry || state === "retrying") || this.#isDisabled;
      end.replaceChildren(icon(state === "stored" || state === "removing" ? "remove" : "close"));
      label(end, upload ? texts.cancel : problem ? texts.dismiss : texts.remove);
      end.hidden = this.#isDisabled;
      end.setAttribute("aria-disabled", String(state === "removing"));
      if (hadFocus && retry.hidden) end.focus();
    };

    retry.addEventListener("click", () => this.retryFile(entry.name));
    end.addEventListener("click", () => {
      if (entry.upload) this.cancelFile(entry.name);
      else if (entry.problem) this.#dismiss(entry);
      else if (entry.item && !entry.removing) this.#remove(entry);
    });
    setThumbnail();
    return { element, show, setThumbnail };
  }

  #isGone(entry) {
    return entry.state === "removing" || entry.problem?.code === "lost";
  }

  #status(entry) {
    const { upload, state } = entry;
    const texts = this.#texts;
    const size = entry.size === undefined ? "" : formatSize(entry.size, this.#locale);
    const words = () => {
      if (state === "sending") {
        return formatPercent(upload.share, this.#locale);
      }
      if (state === "retrying") {
        const wait = this.#queue?.resumes ? this.#queue.resumes - Date.now() : null;
        if (wait === null) return texts.waiting;
        return fill(texts.retrying, { time: formatTime(wait, this.#locale) });
      }
      return state === "failed" ? "" : texts[state];
    };
    const text = words();
    return state === "sending" || state === "saving"
      ? text
      : [size, text].filter(Boolean).join(" · ");
  }

  /** Bring everything in line that depends on whether something is under way. */
  #settle() {
    const { add } = this.#parts;
    const entries = [...this.#entries.values()];
    this.#setState("busy", this.busy);
    this.#setState("failed", this.failed);
    const isMissing =
      this.required && this.#isListed && !entries.some((entry) => entry.item || entry.upload);
    if (isMissing) {
      this.#internals.setValidity({ valueMissing: true }, this.#texts.required, add);
    } else {
      this.#internals.setValidity({});
    }
    this.#showForm();
    const { kind } = this.#parts.notice.dataset;
    if (kind === "undecided" && !this.failed) this.#notify(null);
    if (kind === "changed" && this.busy) this.#notify(null);
    this.#tick(entries.some((entry) => entry.state === "retrying"));
    // Only while there is something to lose: it can keep a page out of the cache.
    const ask = SessionAttachments.#askToStay;
    if ([...elements].some((element) => element.busy)) addEventListener("beforeunload", ask);
    else removeEventListener("beforeunload", ask);
    if (!this.busy) for (const resolve of this.#waiters.splice(0)) resolve();
  }

  /** Count the seconds down that are left until the next attempt. */
  #tick(isOn) {
    if (isOn && this.#ticking === null) {
      this.#ticking = setInterval(() => {
        for (const entry of this.#entries.values()) {
          if (entry.state === "retrying") entry.row?.show();
        }
      }, 1000);
    } else if (!isOn && this.#ticking !== null) {
      clearInterval(this.#ticking);
      this.#ticking = null;
    }
  }
}

/** Whether a drop there is taken by the page itself: a file input. */
function takesFiles(event) {
  return event.composedPath()[0]?.matches?.("input[type=file]") ?? false;
}

/** A promise for those who wait no longer than so many milliseconds. */
function late(wait) {
  return new Promise((resolve) => setTimeout(resolve, wait));
}

function renamed(file, name) {
  if (file.name === name) return file;
  return new File([file], name, { type: file.type, lastModified: file.lastModified });
}

/** By which a form names the file. */
function publicId({ etag }) {
  return etag.replaceAll('"', "");
}

function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// An older browser keeps the plain file input, which works as without JavaScript.
if (
  globalThis.customElements &&
  "attachInternals" in HTMLElement.prototype &&
  "adoptedStyleSheets" in Document.prototype &&
  !customElements.get("session-attachments")
) {
  customElements.define("session-attachments", SessionAttachments);
}
