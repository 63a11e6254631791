/** `npm run bench -- profile FILE...`: the functions of V8 profiles by self time. Profiles come from `npm run bench -- commit --profile DIR`. */
import { topFunctions } from './lib/cpu-profile.ts';

const COUNT = 40;
const files = process.argv.slice(2);
if (files.length === 0) {
  process.stderr.write('usage: npm run bench -- profile FILE.cpuprofile...\n');
  process.exitCode = 2;
}
for (const file of files) {
  process.stdout.write(`${file}\n`);
  for (const { name, place, ms, percent } of topFunctions(file, COUNT))
    process.stdout.write(`${String(ms).padStart(8)} ms ${String(percent).padStart(5)} %  ${name}  ${place}\n`);
}
