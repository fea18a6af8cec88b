import assert from "node:assert/strict";
import { test } from "node:test";

import { Notes } from "../src/notes.ts";

test("numbers are never given twice", () => {
  const notes = new Notes();
  const first = notes.add("one");
  notes.remove(first.id);
  assert.notEqual(notes.add("two").id, first.id);
});

test("a note that isn't there can't be finished", () => {
  assert.equal(new Notes().finish(1), undefined);
});
