/** The interface: a collection of notes and a health check. */

import express, { type Express, type Request, type Response } from "express";

import { Notes, type Note } from "./notes.ts";

const LONGEST = 500;

export function createApp(notes = new Notes()): Express {
  const app = express();
  app.disable("x-powered-by");
  app.use(express.json({ limit: "16kb" }));

  app.get("/health", (_request, response) => {
    response.json({ status: "ok", node: process.version });
  });

  app.get("/notes", (request, response) => {
    const { done } = request.query;
    response.json(notes.list(done === undefined ? undefined : done === "true"));
  });

  app.post("/notes", (request, response) => {
    const text: unknown = (request.body as { text?: unknown } | undefined)?.text;
    if (typeof text !== "string" || text.trim() === "" || text.length > LONGEST) {
      response.status(400).json({ error: `text: 1 to ${LONGEST} characters` });
      return;
    }
    const note = notes.add(text.trim());
    response.status(201).location(`/notes/${note.id}`).json(note);
  });

  app.get("/notes/:id", (request, response) => send(response, notes.get(id(request))));
  app.post("/notes/:id/done", (request, response) => send(response, notes.finish(id(request))));
  app.delete("/notes/:id", (request, response) => {
    response.status(notes.remove(id(request)) ? 204 : 404).end();
  });

  app.use((_request, response) => {
    response.status(404).json({ error: "not found" });
  });
  app.use((error: { status?: number }, _request: Request, response: Response, _next: unknown) => {
    response.status(error.status ?? 500).json({ error: error.status === 400 ? "not JSON" : "failed" });
  });
  return app;
}

function id(request: Request): number {
  return Number(request.params["id"]);
}

function send(response: Response, note: Note | undefined): void {
  if (note) response.json(note);
  else response.status(404).json({ error: "no such note" });
}
