// The event types that webhooks subscribe to.
import type { ChangeOperation } from '../changelog/record.ts'
import { describeUnknown } from '../did-you-mean.ts'
import { type Fault, MAX_FAULTS } from '../errors.ts'
import type { Resource } from '../query/resource.ts'

export const ALL = '*'

/** Suffix of the event type by operation. Other operations of the change log create no events. */
export const EVENT_SUFFIXES: Partial<Record<ChangeOperation, string>> = { create: 'created', update: 'updated', delete: 'deleted' }

/** Type of the events by `POST …/notify_update/`. */
export const NOTIFIED = 'products.notified'

/** Type of test deliveries, which need no subscription. */
export const TEST = 'webhooks.test'

/** Whether changes of a resource create events. Resources that only admins can read create none. */
export const hasEvents = ({ access }: Resource): boolean => access.read === 'read'

/** Lists all event types but `*`. */
export const listEventTypes = (resources: readonly Resource[]): string[] => [
  ...resources.filter(hasEvents).flatMap(({ table }) => Object.values(EVENT_SUFFIXES).map((suffix) => `${table}.${suffix}`)),
  NOTIFIED,
]

export function findTypeFaults(types: readonly string[], resources: readonly Resource[]): Fault[] {
  const allowed = [...listEventTypes(resources), ALL]
  const faults = types.flatMap((type, index): Fault[] => {
    if (allowed.includes(type)) return []
    return [{ pointer: `/events/${index}`, ...describeUnknown('is not an event type', type, allowed) }]
  })
  return faults.slice(0, MAX_FAULTS)
}

export const isSubscribed = (types: readonly string[], type: string): boolean => types.includes(ALL) || types.includes(type)

/** Returns the resource in an event type. */
export const parseResource = (type: string): string => type.slice(0, type.indexOf('.'))
