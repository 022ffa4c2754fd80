-- stockroom: breaking
ALTER TABLE `cursors` RENAME TO `consumer_offsets`;