/** Waits in tests: polls until a condition holds. */

/** Resolves once `condition` holds; throws after `timeoutMs`, naming the condition's source. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 8000,
  everyMs = 10,
): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`not within ${timeoutMs} ms: ${condition.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
