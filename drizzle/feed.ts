// What the feed of changes has to remember of entries that are no longer there.
import type { DerivedPart } from './migrations.ts'
import { describeColumns } from './schema-parts.ts'

/**
 * `pruned` is the last entry that was forgotten: who had come just so far has missed nothing. Up to `restored` the log has another order
 * than it had in another cluster, so that positions of that time must not be taken for those of now.
 */
export const feedTable: DerivedPart = {
  name: 'stockroom_feed',
  isLostInRebuild: false,
  needs: describeColumns('stockroom_feed', ['name', 'change', 'digest']),
  statements: ['create table if not exists stockroom_feed (name text primary key, change bigint not null, digest text not null)'],
  fill: async () => {},
}
