"""Kernel tables of a GPU that never was, in aiconfigurator's layout."""


def write_tables(folder, factor=1.0, library="vllm-1.0"):
    """Write tables of a GPU that does 100 TFLOP/s and 500 GB/s; return the folder."""
    (folder / library).mkdir(parents=True, exist_ok=True)
    lines = ["gemm_dtype,m,n,k,latency"]
    for n in (1024, 4096, 16384):
        for k in (1024, 4096, 16384):
            for m in (1, 16, 64, 256, 1024, 4096):
                time = factor * (5e-6 + max(2 * m * n * k / 100e12, 2 * (m * k + k * n + m * n) / 500e9))
                lines.append(f"bfloat16,{m},{n},{k},{time * 1e3}")
    (folder / library / "gemm_perf.csv").write_text("\n".join(lines))
    header = "batch_size,num_heads,num_key_value_heads,head_dim,kv_cache_dtype,attn_dtype"
    prompts, decodes = [f"{header},isl,latency"], [f"{header},step,latency"]
    for batch in (1, 4, 16, 64):
        for heads in (8, 16, 32):
            for length in (15, 63, 255, 1023, 4095):
                size, flops = batch * length * 128 * 8, batch * heads * 128 * length
                row = f"{batch},{heads},8,128,bfloat16,bfloat16"
                prompts.append(f"{row},{length + 1},{factor * (0.01 + 2e3 * flops * length / 80e12)}")
                decodes.append(f"{row},{length},{factor * (0.01 + 4e3 * size / 450e9)}")
    (folder / library / "context_attention_perf.csv").write_text("\n".join(prompts))
    (folder / library / "generation_attention_perf.csv").write_text("\n".join(decodes))
    return str(folder)
