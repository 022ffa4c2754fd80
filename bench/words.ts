// The words of the generated catalogue.

export const departmentNames = ['Clothing', 'Kitchen', 'Outdoors', 'Workshop']
export const shelfNames = ['Basics', 'Classics', 'Novelties', 'Premium', 'Seasonal', 'Spares', 'Travel']

/** First words of brands. Each brand is a name and a trade: 500 in all. */
export const names = (
  'Abbott Barlow Cromwell Dalton Ellery Fairfax Garrick Hobson Ingram Jarvis Kendrick Langley Merton Norwood Ormsby Prescott ' +
  'Quimby Radcliffe Sefton Thornley Upshaw Vickers Wexford Yardley Zeller'
).split(' ')
export const trades = (
  'Group Brothers Works Mills Trading Supply House Partners Union Company Labs Studio Foundry Makers Exports Holdings Stores Direct ' +
  'Global Limited'
).split(' ')

/** 400 words of 4 to 9 letters. */
export const words = `
  acid acorn active actual adult alert alive amber ample anchor angle ankle apple apron arch arena artist aspect atlas attic
  august author awake axis badge baker balance banner barley barrel basin basket beacon beam beard beaver bench berry birch
  blanket blaze blossom blue board bottle boulder bowl branch brass brave breeze brick bridge brief bright bronze brook brush
  bubble bucket buckle butter button cabin cable cactus camel camera candle canoe canvas captain card cargo carpet castle cedar
  center chain chalk charm cheese cherry chief circle citrus clean clear cliff clock cloud clover coast cobalt comet compass
  copper coral corner cotton crane creek crisp crystal curious curtain cushion daily dapper daring dawn delta denim desert
  diamond direct double dragon drum durable eager eagle earnest easel echo elastic elbow ember empire engine entire equal estate
  exact fabric factor fair famous feather fence fern ferry fiber fiddle final finch firm flame flannel flask flint floral flute
  focus forest formal fossil frame free fresh frost funnel future gallery garden garlic gentle giant ginger glacier glad glass
  glove golden grain granite grape grateful gravel great green grid guitar handy happy harbor hardy harvest heart heavy helmet
  herb heron hidden honest honey horizon humble ideal igloo island ivory jacket jasmine jelly jolly journey jumbo jungle junior
  kayak kernel kettle keyboard kind kitten lagoon lantern large laser latch lather lavender leather lemon level lily lively
  lobster lofty loyal lucky lunar magnet major mango maple marble meadow medal mellow melon merry metal mint mirror modern modest
  monument mosaic mountain muffin music mustard narrow neat nectar needle nimble noble north novel nutmeg oasis ocean olive opal
  orange orchard orchid origin otter oval oxford paddle palace panel parcel parrot pasture patient pearl pebble pencil pepper
  piano picnic pillow pine pioneer planet plum pocket polar pond poppy portal potter powder precise proud puzzle quaint quality
  quartz quiet quilt rabbit radar radiant rain rapid raven ready ribbon ridge robin robust rocket rose royal rubber saddle
  saffron sailor salmon sand satin scarf scholar season shadow sharp shelter shiny silent silver simple sketch sleek smart smooth
  soft solar sonic spark spice spiral spring square steady stellar stone storm stout sturdy summer summit sunny superb supple
  tablet tailor talent tawny tender thunder ticket tidal tiger timber topaz tower trail tranquil travel treasure tulip tundra
  tunnel turtle twin urban valley vanilla velvet violet vivid warm wave whisper wide willow window wise wonder wool young zebra
  zesty
`
  .trim()
  .split(/\s+/)
