/** Progress of long steps: one rewritten line with a spinner on a terminal; plain lines, with a sign of life every 15 s, elsewhere. */

const FRAMES = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const SPIN_MS = 120;
const SIGN_OF_LIFE_MS = 15_000;

export function seconds(since) {
  return `${((Date.now() - since) / 1000).toFixed(1)} s`;
}

export class Progress {
  #out;
  #tty;
  #timer;
  #started = Date.now();
  #label = '';

  constructor(out = process.stderr) {
    this.#out = out;
    this.#tty = Boolean(out.isTTY);
  }

  /** `label` is like `[2/5] building the console`. */
  begin(label) {
    this.#label = label;
    this.#started = Date.now();
    let frame = 0;
    if (!this.#tty) this.#out.write(`${label} ...\n`);
    this.#timer = setInterval(
      () => {
        if (this.#tty) this.#out.write(`\r\x1b[K${FRAMES[frame++ % FRAMES.length]} ${label} ${seconds(this.#started)}`);
        else this.#out.write(`${label} ... ${seconds(this.#started)}\n`);
      },
      this.#tty ? SPIN_MS : SIGN_OF_LIFE_MS,
    );
  }

  end(outcome) {
    clearInterval(this.#timer);
    this.#out.write(`${this.#tty ? '\r\x1b[K' : ''}${this.#label}: ${outcome} (${seconds(this.#started)})\n`);
  }
}
