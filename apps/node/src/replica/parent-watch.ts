/** Ends this process when its parent is gone: at once by the IPC channel, else by looking at the parent's pid. Crash-only: nothing is lost by it. */
const LOOK_EVERY_MS = 500;

/** `onGone` is called at most once. */
export function watchParent(onGone: () => void): void {
  const parent = process.ppid;
  let gone = false;
  const end = (): void => {
    if (gone) return;
    gone = true;
    onGone();
  };
  if (process.channel !== undefined) process.once('disconnect', end);
  // The channel may also be inherited by others, or absent: the pid tells in any case.
  setInterval(() => {
    if (process.ppid !== parent) end();
  }, LOOK_EVERY_MS).unref();
}
