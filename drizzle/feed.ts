// The table of marks that tell the feed of changes which positions are gone.
import type { DerivedPart } from './migrations.ts'
import { describeColumns } from './schema-parts.ts'

/**
 * The mark `pruned` is the newest deleted entry: a client at that position has missed nothing. The mark `restored` is the newest entry whose
 * order changed when the database moved to another cluster: positions up to it from before are invalid.
 */
export const feedTable: DerivedPart = {
  name: 'stockroom_feed',
  isLostInRebuild: false,
  needs: describeColumns('stockroom_feed', ['name', 'change', 'digest']),
  statements: ['create table if not exists stockroom_feed (name text primary key, change bigint not null, digest text not null)'],
  fill: async () => {},
}
