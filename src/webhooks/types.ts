// The types of events that webhooks are told of.
import type { Operation } from '../changelog/record.ts'
import { describeUnknown } from '../did-you-mean.ts'
import { type Fault, MAX_FAULTS } from '../errors.ts'
import type { Resource } from '../query/resource.ts'

export const ALL = '*'

/** What happened, as the type of an event says it. What else is recorded is told to nobody. */
export const EVENT_SUFFIXES: Partial<Record<Operation, string>> = { create: 'created', update: 'updated', delete: 'deleted' }

/** Somebody asked for it: `POST …/notify_update/`. */
export const NOTIFIED = 'products.notified'

/** A delivery that was asked for to see whether one arrives. It is sent whatever the webhook has subscribed to. */
export const TEST = 'webhooks.test'

/** Of resources that only administrators may read, nobody else is told. */
export const hasEvents = ({ access }: Resource): boolean => access.read === 'read'

/** Every type, besides `*`. */
export const listEventTypes = (resources: readonly Resource[]): string[] => [
  ...resources.filter(hasEvents).flatMap(({ table }) => Object.values(EVENT_SUFFIXES).map((happened) => `${table}.${happened}`)),
  NOTIFIED,
]

export function findTypeFaults(types: readonly string[], resources: readonly Resource[]): Fault[] {
  const allowed = [...listEventTypes(resources), ALL]
  const faults = types.flatMap((type, index): Fault[] => {
    if (allowed.includes(type)) return []
    return [{ pointer: `/events/${index}`, ...describeUnknown('is no type of event', type, allowed) }]
  })
  return faults.slice(0, MAX_FAULTS)
}

export const isSubscribed = (types: readonly string[], type: string): boolean => types.includes(ALL) || types.includes(type)

/** The name of the resource that an event is of. */
export const parseResource = (type: string): string => type.slice(0, type.indexOf('.'))
