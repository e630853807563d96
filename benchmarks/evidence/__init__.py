"""Does a curriculum help, and which? Small training runs on several tasks, and their statistics."""
