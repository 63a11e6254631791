/** `chronon log verify | show PATH`: reads a replica's directory as it lies on the disk; changes nothing. */
import { Command } from 'commander';
import { Failure } from '../supervisor/failure.ts';
import { EXIT } from './exit-codes.ts';

export const verifyCommand = new Command('verify')
  .description('check every frame of a replica directory')
  .argument('<path>')
  .option('--json', 'print one JSON object')
  .action(() => {
    throw new Failure('E_NOT_HERE', 'not available yet', EXIT.failed);
  });

export const showCommand = new Command('show')
  .description('show entries of a replica directory')
  .argument('<path>')
  .option('--json', 'print one JSON object')
  .action(() => {
    throw new Failure('E_NOT_HERE', 'not available yet', EXIT.failed);
  });
