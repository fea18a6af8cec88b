/** Notes, kept in memory. */

export interface Note {
  id: number;
  text: string;
  done: boolean;
}

export class Notes {
  private readonly all = new Map<number, Note>();
  private last = 0;

  list(done?: boolean): Note[] {
    return [...this.all.values()].filter((note) => done === undefined || note.done === done);
  }

  get(id: number): Note | undefined {
    return this.all.get(id);
  }

  add(text: string): Note {
    const note = { id: ++this.last, text, done: false };
    this.all.set(note.id, note);
    return note;
  }

  finish(id: number): Note | undefined {
    const note = this.all.get(id);
    if (note) note.done = true;
    return note;
  }

  remove(id: number): boolean {
    return this.all.delete(id);
  }
}
