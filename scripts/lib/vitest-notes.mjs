/** A vitest reporter that writes why tests were skipped (`ctx.skip('why')`): the JSON reporter leaves that out. */
import { writeFileSync } from 'node:fs';

export default class NotesReporter {
  onTestRunEnd(modules) {
    const notes = {};
    for (const module of modules) {
      for (const test of module.children.allTests('skipped')) notes[test.fullName] = test.result().note ?? '';
    }
    if (process.env.CHRONON_VITEST_NOTES) writeFileSync(process.env.CHRONON_VITEST_NOTES, JSON.stringify(notes));
  }
}
