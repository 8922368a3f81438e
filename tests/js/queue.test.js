import assert from "node:assert/strict";
import test from "node:test";

import shipped from "./shipped.js";

const { ConnectionLost, Door, Queue, Unreadable, Upload } = shipped;

/** A server that answers when it is told to, and a clock that goes when it is told to. */
class World {
  requests = [];
  steps = [];
  time = 0;
  timers = new Map();
  online = true;

  constructor(options = {}) {
    this.door = options.door ?? new Door();
    this.queue = new Queue({
      door: this.door,
      send: (upload, tell) => this.#send(upload, tell),
      changed: (upload) => this.steps.push(`${upload.name} ${upload.state}`),
      online: () => this.online,
      random: () => 1,
      clock: {
        now: () => this.time,
        start: (call, wait) => {
          const timer = Symbol("timer");
          this.timers.set(timer, { call, at: this.time + wait });
          return timer;
        },
        stop: (timer) => this.timers.delete(timer),
      },
      ...options,
    });
    this.queue.open();
  }

  #send(upload, tell) {
    const request = { upload, tell, aborted: false };
    const done = new Promise((resolve, reject) => Object.assign(request, { resolve, reject }));
    this.requests.push(request);
    return { done, abort: () => (request.aborted = true) };
  }

  add(...names) {
    const uploads = names.map((name) => new Upload(name, { size: 100 }));
    for (const upload of uploads) this.queue.add(upload);
    return uploads;
  }

  /** The names of the files that are being sent. */
  get sending() {
    return this.requests.map((request) => request.upload.name);
  }

  async answer(name, status, { body = { name }, retryAfter = null } = {}) {
    await this.#end(name, (request) => request.resolve({ status, body, retryAfter }));
  }

  async lose(name, error = new ConnectionLost()) {
    await this.#end(name, (request) => request.reject(error));
  }

  async #end(name, how) {
    const place = this.requests.findIndex((request) => request.upload.name === name);
    how(this.requests.splice(place, 1)[0]);
    await new Promise((resolve) => setImmediate(resolve));
  }

  async pass(milliseconds) {
    this.time += milliseconds;
    for (const [timer, { call, at }] of [...this.timers]) {
      if (at <= this.time && this.timers.delete(timer)) call();
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test("the first goes alone, then three at a time", async () => {
  const world = new World();
  world.add("a", "b", "c", "d", "e");
  assert.deepEqual(world.sending, ["a"]);
  await world.answer("a", 201);
  assert.deepEqual(world.sending, ["b", "c", "d"]);
  await world.answer("c", 201);
  assert.deepEqual(world.sending, ["b", "d", "e"]);
  assert.equal(world.queue.size, 3);
});

test("a first one that is refused makes no session: the next goes alone, too", async () => {
  const world = new World();
  world.add("a", "b", "c");
  await world.answer("a", 415, { body: null });
  assert.deepEqual(world.sending, ["b"]);
});

test("a visitor whom the server knows sends in parallel at once", () => {
  const world = new World();
  world.door.open();
  world.add("a", "b");
  assert.deepEqual(world.sending, ["a", "b"]);
});

test("nothing is sent before the queue is open", () => {
  const world = new World();
  world.queue.close();
  world.add("a");
  assert.deepEqual(world.sending, []);
  world.queue.open();
  assert.deepEqual(world.sending, ["a"]);
});

test("progress, saving, stored", async () => {
  const world = new World();
  const [upload] = world.add("a");
  const { tell } = world.requests[0];
  tell.progress(40);
  assert.equal(upload.share, 0.4);
  tell.progress(5000);
  assert.equal(upload.share, 1);
  tell.sent();
  assert.equal(upload.state, "saving");
  tell.progress(50); // late
  assert.equal(upload.share, 1);
  await world.answer("a", 201, { body: { name: "a", size: 100 } });
  assert.equal(upload.state, "stored");
  assert.deepEqual(upload.item, { name: "a", size: 100 });
  const states = ["waiting", "sending", "sending", "sending", "saving", "stored"];
  assert.deepEqual(
    world.steps,
    states.map((state) => `a ${state}`),
  );
});

test("a refusal is final, and says why", async () => {
  const world = new World();
  const [upload] = world.add("a");
  await world.answer("a", 415, { body: { code: "type_not_allowed", detail: "No." } });
  assert.equal(upload.state, "failed");
  assert.equal(upload.problem.detail, "No.");
  assert.equal(world.queue.size, 0);
  assert.equal(world.timers.size, 0);
});

test("a lost connection is tried again, later each time", async () => {
  const world = new World();
  const [upload] = world.add("a");
  for (const wait of [1000, 2000, 4000]) {
    await world.lose("a");
    assert.equal(upload.state, "retrying");
    assert.equal(upload.problem.code, "connection");
    assert.equal(world.queue.resumes, world.time + wait);
    await world.pass(wait - 1);
    assert.deepEqual(world.sending, []);
    await world.pass(1);
    assert.deepEqual(world.sending, ["a"]);
    assert.equal(upload.sent, 0);
  }
  await world.answer("a", 201);
  assert.equal(upload.state, "stored");
});

test("it is given up some time", async () => {
  const world = new World({ attempts: 3 });
  const [upload] = world.add("a");
  await world.lose("a");
  await world.pass(60_000);
  await world.lose("a");
  await world.pass(60_000);
  await world.lose("a");
  assert.equal(upload.state, "failed");
  assert.equal(upload.problem.code, "connection");
  assert.equal(world.queue.size, 0);
});

test("the server's Retry-After counts", async () => {
  const world = new World();
  const [upload] = world.add("a");
  await world.answer("a", 503, { body: { detail: "Closed." }, retryAfter: "300" });
  assert.equal(upload.problem.detail, "Closed.");
  assert.equal(world.queue.resumes, 300_000);
  await world.pass(300_000);
  assert.deepEqual(world.sending, ["a"]);
});

test("of two reasons to wait the longer one counts, whichever comes first", async () => {
  const closed = { body: null, retryAfter: "300" };
  for (const order of [["a", "b"], ["b", "a"]]) {
    const world = new World();
    world.door.open();
    world.add("a", "b");
    for (const name of order) {
      if (name === "a") await world.answer("a", 503, closed);
      else await world.lose("b");
    }
    assert.equal(world.queue.resumes, 300_000);
    assert.equal(world.timers.size, 1);
    await world.pass(299_999);
    assert.deepEqual(world.sending, []);
    await world.pass(1);
    assert.deepEqual(world.sending, [order[0]]);
  }
});

test("while the connection is lost, one goes ahead", async () => {
  const world = new World();
  world.door.open();
  world.add("a", "b", "c", "d");
  await world.lose("a");
  await world.lose("b");
  await world.lose("c");
  assert.deepEqual(world.sending, []);
  await world.pass(60_000);
  assert.deepEqual(world.sending, ["d"]);
  await world.answer("d", 201);
  assert.deepEqual(world.sending, ["a", "b", "c"]);
});

test("a file that breaks the connection does not hold up the others", async () => {
  const world = new World({ attempts: 3 });
  const [bad] = world.add("bad", "good", "better");
  await world.lose("bad");
  await world.pass(1000);
  await world.answer("good", 201);
  await world.answer("better", 201);
  assert.deepEqual(world.sending, ["bad"]);
  await world.lose("bad");
  await world.pass(1000);
  await world.lose("bad");
  assert.equal(bad.state, "failed");
});

test("offline waits, and costs no attempt", async () => {
  const world = new World({ attempts: 2 });
  const [upload] = world.add("a");
  world.online = false;
  for (let times = 0; times < 5; times += 1) {
    await world.lose("a");
    assert.equal(upload.state, "offline");
    world.queue.wake(); // as the browser's event does
    assert.deepEqual(world.sending, ["a"]);
  }
  world.online = true;
  await world.answer("a", 201);
  assert.equal(upload.state, "stored");
});

test("offline without an event looks by itself after a while", async () => {
  const world = new World();
  world.add("a");
  world.online = false;
  await world.lose("a");
  await world.pass(30_000);
  assert.deepEqual(world.sending, ["a"]);
});

test("a file that cannot be read is not tried again", async () => {
  const world = new World();
  const [upload] = world.add("a");
  await world.lose("a", new Unreadable());
  assert.equal(upload.state, "failed");
  assert.equal(upload.problem.code, "unreadable");
});

test("cancel: while it waits, while it is sent, while it is to be tried again", async () => {
  const world = new World();
  const [a, b, c] = world.add("a", "b", "c");
  world.queue.cancel(b);
  assert.equal(b.state, "cancelled");
  const [request] = world.requests;
  world.queue.cancel(a);
  assert.equal(request.aborted, true);
  assert.deepEqual(world.sending, ["a", "c"]);
  world.requests.shift();
  await world.lose("c");
  world.queue.cancel(c);
  assert.equal(world.queue.size, 0);
  assert.equal(world.timers.size, 0);
  world.queue.cancel(c); // once is enough
  assert.equal(world.steps.filter((step) => step === "c cancelled").length, 1);
});

test("an answer that comes after the cancel changes nothing", async () => {
  const world = new World();
  const [upload] = world.add("a");
  world.queue.cancel(upload);
  await world.answer("a", 201);
  assert.equal(upload.state, "cancelled");
  assert.equal(upload.item, null);
});

test("close: everything is cancelled", () => {
  const world = new World();
  world.door.open();
  const uploads = world.add("a", "b", "c", "d");
  world.queue.close();
  assert.ok(uploads.every((upload) => upload.state === "cancelled"));
  assert.ok(world.requests.every((request) => request.aborted));
});

test("share: an empty file", () => {
  const upload = new Upload("a", { size: 0 });
  assert.equal(upload.share, 0);
  upload.state = "saving";
  assert.equal(upload.share, 1);
});

test("door: of two queues without a session one goes first", async () => {
  const door = new Door();
  const [one, two] = [new World({ door }), new World({ door })];
  one.add("a", "b");
  two.add("c", "d");
  assert.deepEqual([one.sending, two.sending], [["a"], []]);
  await one.answer("a", 201);
  assert.deepEqual([one.sending, two.sending], [["b"], ["c", "d"]]);
});

test("door: after a refusal, a lost connection or a cancel it is the other's turn", async () => {
  const door = new Door();
  const [one, two] = [new World({ door }), new World({ door })];
  const [a] = one.add("a");
  const [b] = two.add("b", "c");
  await one.answer("a", 415, { body: null });
  assert.equal(a.state, "failed");
  assert.deepEqual(two.sending, ["b"]);
  one.add("d");
  await two.lose("b");
  assert.deepEqual([one.sending, two.sending], [["d"], []]);
  one.queue.cancel(one.requests.shift().upload);
  await two.pass(1000);
  assert.deepEqual(two.sending, ["c"]);
  two.queue.close();
  assert.equal(b.state, "cancelled");
});

/** The browser's locks, for one name. */
class Locks {
  #line = Promise.resolve();

  request(name, call) {
    this.#line = this.#line.then(call);
    return this.#line;
  }
}

const moment = () => new Promise((resolve) => setTimeout(resolve, 5));

test("door: the locks hold for all tabs", async () => {
  const locks = new Locks();
  const [one, two] = [new Door(locks), new Door(locks)].map((door) => new World({ door }));
  one.add("a", "b");
  two.add("c", "d");
  await moment();
  assert.deepEqual([one.sending, two.sending], [["a"], []]);
  await one.answer("a", 201);
  await moment();
  assert.deepEqual([one.sending, two.sending], [["b"], ["c"]]);
});

test("door: who leaves the line does not keep the lock", async () => {
  const locks = new Locks();
  const [one, two] = [new Door(locks), new Door(locks)].map((door) => new World({ door }));
  const [a] = one.add("a");
  one.queue.cancel(a);
  two.add("b");
  await moment();
  assert.deepEqual([one.sending, two.sending], [[], ["b"]]);
  one.add("c");
  await two.answer("b", 201);
  await moment();
  assert.deepEqual(one.sending, ["c"]);
});

test("door: locks that are forbidden are done without", async () => {
  const locks = { request: () => Promise.reject(new Error("SecurityError")) };
  const world = new World({ door: new Door(locks) });
  world.add("a");
  await moment();
  assert.deepEqual(world.sending, ["a"]);
});
