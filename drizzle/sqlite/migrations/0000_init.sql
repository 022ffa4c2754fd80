CREATE TABLE `categories` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`name` text NOT NULL,
	`slug` text NOT NULL,
	`parent` integer,
	`created_at` integer NOT NULL,
	`updated_at` integer NOT NULL,
	`version` integer DEFAULT 1 NOT NULL,
	FOREIGN KEY (`parent`) REFERENCES `categories`(`id`) ON UPDATE no action ON DELETE restrict
);
--> statement-breakpoint
CREATE UNIQUE INDEX `categories_slug` ON `categories` (`slug`);--> statement-breakpoint
CREATE UNIQUE INDEX `categories_parent_name` ON `categories` (`parent`,`name`);--> statement-breakpoint
CREATE UNIQUE INDEX `categories_root_name` ON `categories` (`name`) WHERE parent is null;--> statement-breakpoint
CREATE INDEX `categories_by_name` ON `categories` (`name`,`id`);--> statement-breakpoint
CREATE INDEX `categories_by_parent` ON `categories` (`parent`,`id`);--> statement-breakpoint
CREATE INDEX `categories_by_created_at` ON `categories` (`created_at`,`id`);--> statement-breakpoint
CREATE INDEX `categories_by_updated_at` ON `categories` (`updated_at`,`id`);--> statement-breakpoint
CREATE TABLE `products` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`sku` text,
	`name` text NOT NULL,
	`description` text DEFAULT '' NOT NULL,
	`price` integer NOT NULL,
	`stock` integer DEFAULT 0 NOT NULL,
	`brand` text DEFAULT '' NOT NULL,
	`category` integer,
	`created_at` integer NOT NULL,
	`updated_at` integer NOT NULL,
	`version` integer DEFAULT 1 NOT NULL,
	FOREIGN KEY (`category`) REFERENCES `categories`(`id`) ON UPDATE no action ON DELETE restrict
);
--> statement-breakpoint
CREATE UNIQUE INDEX `products_sku` ON `products` (`sku`);--> statement-breakpoint
CREATE INDEX `products_by_sku` ON `products` (`sku`,`id`);--> statement-breakpoint
CREATE INDEX `products_by_name` ON `products` (`name`,`id`);--> statement-breakpoint
CREATE INDEX `products_by_price` ON `products` (`price`,`id`);--> statement-breakpoint
CREATE INDEX `products_by_stock` ON `products` (`stock`,`id`);--> statement-breakpoint
CREATE INDEX `products_by_brand` ON `products` (`brand`,`id`);--> statement-breakpoint
CREATE INDEX `products_by_category` ON `products` (`category`,`id`);--> statement-breakpoint
CREATE INDEX `products_by_created_at` ON `products` (`created_at`,`id`);--> statement-breakpoint
CREATE INDEX `products_by_updated_at` ON `products` (`updated_at`,`id`);