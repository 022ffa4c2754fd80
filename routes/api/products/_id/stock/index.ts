import { Type } from '@sinclair/typebox'
import { type App, buildStateHeaders, type FindFaults, handlePost, preconditionFor, readActor } from '../../../../../src/http/routes.ts'
import { describeAction } from '../../../../../src/openapi/operations.ts'
import { BODY_ERRORS } from '../../../../../src/openapi/responses.ts'
import { changeStock, findStockFaults, StockChange } from '../../../../../src/records/stock.ts'
import { products } from '../../../../../src/resources/products.ts'

const schema = {
  ...describeAction(
    products,
    {
      name: 'stock',
      summary: 'Add to or take from the stock of a product',
      description: 'Adds `delta` to the current stock, so concurrent changes all count. The stock never goes below zero.',
    },
    { description: 'The product with its new stock', schema: Type.Ref(products.schemas.record.$id as string) },
    [...BODY_ERRORS, 'insufficient-stock'],
  ),
  body: StockChange,
}

const findFaults: FindFaults = async ({ body }, faulty) => (faulty.has('delta') ? [] : findStockFaults(body as { delta?: number }))

export default async function (app: App) {
  app.post('/', { schema, config: { access: products.access.write, findFaults } }, (request, reply) =>
    handlePost(request, reply, async (tx) => {
      const record = await changeStock(tx, app.db, request.params.id, request.body, readActor(request), preconditionFor(request))
      return { status: 200, headers: buildStateHeaders(record), body: record }
    }),
  )
}
