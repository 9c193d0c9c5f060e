# frozen_string_literal: true

# Ruby takes this in ahead of Vagrant (labkit/vagrant.py). Where Bootsnap is installed, what Ruby compiled of each of
# Vagrant's files, and where it found them, is kept for its next start. Vagrant is the same without, only slower: so
# nothing that goes wrong here is an error.
module LabkitBootsnap
  # A cache that cannot be read or written (no space left) is as good as none.
  module Tolerant
    def load_iseq(path)
      super
    rescue StandardError
      nil
    end
  end

  # Bootsnap looks for the files of gems only once, so another set of gems needs another cache.
  def self.installed
    gems = Gem.path.flat_map { |path| [path, "#{path}/gems", "#{path}/specifications"] }
    known = ($LOAD_PATH + gems).map { |path| [path, File.exist?(path) && File.mtime(path).to_r] }
    Zlib.crc32(known.inspect).to_s(16)
  end

  def self.make(directory, cache)
    return if Dir.exist?(cache)

    require 'fileutils'
    Dir.children(directory).each { |old| FileUtils.rm_rf("#{directory}/#{old}") }
    Dir.mkdir(cache)
  end

  def self.start(directory)
    require 'bootsnap'
    require 'zlib'
    cache = "#{directory}/#{installed}"
    make(directory, cache)
    # development_mode: what is not in the cache is looked for as usual.
    Bootsnap.setup(cache_dir: cache, development_mode: true, compile_cache_yaml: false, compile_cache_json: false)
    RubyVM::InstructionSequence.singleton_class.prepend(Tolerant)
  rescue LoadError, StandardError
    nil
  end
end

LabkitBootsnap.start(ENV['LABKIT_BOOTSNAP']) if ENV['LABKIT_BOOTSNAP']
