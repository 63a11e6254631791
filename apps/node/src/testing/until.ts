/** Waits in tests: polls until a condition holds. */

/** Only something broken needs it; a busy machine may. */
export const PATIENCE_MS = 120_000;
/** Of one call that must succeed: the most that the API waits for. */
export const CALL_MS = 60_000;

/** Resolves once `condition` holds; throws after `timeoutMs`, naming the condition's source. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  timeoutMs = PATIENCE_MS,
  everyMs = 10,
): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`not within ${timeoutMs} ms: ${condition.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
