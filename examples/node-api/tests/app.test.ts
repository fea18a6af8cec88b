import assert from "node:assert/strict";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, test } from "node:test";

import { createApp } from "../src/app.ts";

let server: Server;
let base: string;

beforeEach(async () => {
  server = createApp().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterEach(() => {
  server.close();
  server.closeAllConnections();
});

const post = (path: string, body?: string) =>
  fetch(base + path, { method: "POST", headers: { "content-type": "application/json" }, ...(body ? { body } : {}) });

const add = async (text: string) => (await (await post("/notes", JSON.stringify({ text }))).json()) as { id: number };

test("health names the version of Node.js", async () => {
  const answer = await fetch(`${base}/health`);
  assert.deepEqual(await answer.json(), { status: "ok", node: process.version });
});

test("a note is added and found again", async () => {
  const answer = await post("/notes", '{"text": " buy tea "}');
  assert.equal(answer.status, 201);
  const found = await fetch(base + answer.headers.get("location"));
  assert.deepEqual(await found.json(), { id: 1, text: "buy tea", done: false });
});

for (const [what, body] of [
  ["no text", "{}"],
  ["blank text", '{"text": "  "}'],
  ["a number", '{"text": 1}'],
  ["too long a text", JSON.stringify({ text: "x".repeat(501) })],
  ["no JSON", "{"],
] as const) {
  test(`a note with ${what} is refused`, async () => {
    assert.equal((await post("/notes", body)).status, 400);
    assert.deepEqual(await (await fetch(`${base}/notes`)).json(), []);
  });
}

test("notes are listed by whether they are done", async () => {
  const { id } = await add("one");
  await add("two");
  assert.equal((await post(`/notes/${id}/done`)).status, 200);
  const list = async (done: boolean) => (await (await fetch(`${base}/notes?done=${done}`)).json()) as { text: string }[];
  assert.deepEqual((await list(true)).map((note) => note.text), ["one"]);
  assert.deepEqual((await list(false)).map((note) => note.text), ["two"]);
});

test("a note is removed once", async () => {
  const { id } = await add("one");
  const remove = async () => (await fetch(`${base}/notes/${id}`, { method: "DELETE" })).status;
  assert.deepEqual([await remove(), await remove()], [204, 404]);
});

test("what isn't there is not found", async () => {
  for (const path of ["/notes/7", "/notes/x", "/nothing"]) assert.equal((await fetch(base + path)).status, 404);
});
