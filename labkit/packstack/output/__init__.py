"""What Packstack and Puppet print, read and judged; nothing here touches the world."""
