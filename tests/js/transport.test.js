import assert from "node:assert/strict";
import test from "node:test";

import shipped from "./shipped.js";

const { ConnectionLost, Unreadable, put } = shipped;

/** What `put` needs of a browser. */
class FakeRequest extends EventTarget {
  static last = null;
  upload = new EventTarget();
  headers = {};
  aborted = false;

  constructor() {
    super();
    FakeRequest.last = this;
  }
  open(method, url) {
    Object.assign(this, { method, url });
  }
  setRequestHeader(name, value) {
    this.headers[name] = value;
  }
  getResponseHeader(name) {
    return name === "Retry-After" ? "7" : null;
  }
  send(body) {
    this.body = body;
  }
  abort() {
    this.aborted = true;
  }
  tell(type, target = this, values = {}) {
    target.dispatchEvent(Object.assign(new Event(type), values));
  }
}

globalThis.XMLHttpRequest = FakeRequest;

function start(file = new Blob(["spam"]), options = {}) {
  const told = [];
  const { done, abort } = put("/attachments/foo/a.txt/", file, {
    headers: { "X-CSRFToken": "token" },
    progress: (sent) => told.push(sent),
    sent: () => told.push("sent"),
    ...options,
  });
  return { done, abort, told, request: FakeRequest.last };
}

test("put: the file's bytes, with the headers", async () => {
  const { done, told, request } = start();
  assert.equal(request.method, "PUT");
  assert.equal(request.url, "/attachments/foo/a.txt/");
  assert.deepEqual(request.headers, { "X-CSRFToken": "token" });
  assert.equal(request.body.size, 4);
  request.tell("progress", request.upload, { loaded: 2 });
  request.tell("load", request.upload);
  Object.assign(request, { status: 201, response: { name: "a.txt" } });
  request.tell("load");
  request.tell("loadend");
  const answer = { status: 201, body: { name: "a.txt" }, retryAfter: "7" };
  assert.deepEqual(await done, answer);
  assert.deepEqual(told, [2, "sent"]);
});

test("put: a lost connection", async () => {
  const { done, request } = start();
  request.tell("error");
  request.tell("loadend");
  await assert.rejects(done, ConnectionLost);
});

test("put: a file that is gone", async () => {
  const file = {
    slice: () => ({ arrayBuffer: () => Promise.reject(new Error("NotFoundError")) }),
  };
  const { done, request } = start(file);
  request.tell("error");
  request.tell("loadend");
  await assert.rejects(done, Unreadable);
});

test("put: a connection that is dead without saying so", async () => {
  const { done, request } = start(undefined, { stalled: 20 });
  await assert.rejects(done, ConnectionLost);
  assert.equal(request.aborted, true);
});

test("put: once all is sent, the server may take its time", async () => {
  const { done, request } = start(undefined, { stalled: 20 });
  request.tell("load", request.upload);
  await new Promise((resolve) => setTimeout(resolve, 60));
  assert.equal(request.aborted, false);
  Object.assign(request, { status: 201, response: null });
  request.tell("load");
  await done;
});
