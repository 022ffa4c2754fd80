-- stockroom: breaking
ALTER TABLE "cursors" RENAME TO "consumer_offsets";--> statement-breakpoint
ALTER TABLE "consumer_offsets" RENAME CONSTRAINT "cursors_pkey" TO "consumer_offsets_pkey";