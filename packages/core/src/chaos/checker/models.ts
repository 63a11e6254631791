/** The models that `chronon check --model` knows, by name. */
import { bankModel } from './bank-check.ts';
import { appendListModel, type CheckModel, kvModel, outboxModel, registerModel } from './model.ts';

export const CHECK_MODELS: ReadonlyMap<string, CheckModel> = new Map(
  [registerModel, kvModel, bankModel, appendListModel, outboxModel].map((model) => [model.name, model]),
);
