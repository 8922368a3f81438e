import assert from "node:assert/strict";
import test from "node:test";

import shipped from "./shipped.js";

const { backoff, cookie, judge, parseRetryAfter, problemOf } = shipped;

const item = { name: "a.txt", size: 5 };

test("judge: 200 and 201 with the item", () => {
  assert.deepEqual(judge({ status: 201, body: item }), { item });
  assert.deepEqual(judge({ status: 200, body: item }), { item });
});

test("judge: a login page is not a stored file", () => {
  const { item: nothing, problem, again } = judge({ status: 200, body: null });
  assert.equal(nothing, undefined);
  assert.equal(problem.code, "refused");
  assert.equal(again, false);
  assert.equal(judge({ status: 204, body: null }).problem.code, "refused");
});

for (const status of [429, 502, 503, 504]) {
  test(`judge: ${status} may pass the next time`, () => {
    assert.equal(judge({ status, body: null }).again, true);
    assert.equal(judge({ status, body: null }).after, null);
    assert.equal(judge({ status, body: null, retryAfter: "7" }).after, 7000);
  });
}

for (const status of [400, 403, 404, 413, 415, 422, 500, 507]) {
  test(`judge: ${status} will not`, () => {
    assert.equal(judge({ status, body: null, retryAfter: "7" }).again, false);
  });
}

test("problemOf: the server's own words", () => {
  const body = { code: "type_not_allowed", detail: "Not this.", status: 415 };
  assert.deepEqual(problemOf(415, body), {
    code: "type_not_allowed",
    detail: "Not this.",
    status: 415,
  });
});

test("problemOf: no problem document, as from a proxy", () => {
  assert.equal(problemOf(413, null).code, "tooLargeForServer");
  assert.deepEqual(problemOf(500, null).values, { status: 500 });
  assert.equal(problemOf(500, { detail: ["not", "text"] }).detail, undefined);
});

test("parseRetryAfter: seconds, dates, nonsense", () => {
  const now = Date.parse("2026-11-20T12:00:00Z");
  assert.equal(parseRetryAfter("30", now), 30_000);
  assert.equal(parseRetryAfter("Fri, 20 Nov 2026 12:00:10 GMT", now), 10_000);
  assert.equal(parseRetryAfter("Fri, 20 Nov 2026 11:00:00 GMT", now), 0);
  assert.equal(parseRetryAfter("86400", now), 3_600_000);
  assert.equal(parseRetryAfter("soon", now), null);
  assert.equal(parseRetryAfter(null, now), null);
});

test("backoff: doubles up to a minute, and two clients differ", () => {
  const most = [1, 2, 3, 7, 20].map((failures) => backoff(failures, () => 1));
  assert.deepEqual(most, [1000, 2000, 4000, 60_000, 60_000]);
  assert.equal(
    backoff(3, () => 0),
    2000,
  );
});

test("cookie: the one of that name", () => {
  const cookies = "mycsrftoken=no; csrftoken=a%3Db; other=1";
  assert.equal(cookie("csrftoken", cookies), "a=b");
  assert.equal(cookie("token", cookies), "");
});
